//! Looks at a file with our own bounded reader before the library gets it: a hostile header makes it abort.

use std::path::Path;

use super::ffi;
use super::library::BUILD;
use crate::backend::BackendError;
use crate::formats::gguf::{Gguf, Value, ggml_type};

/// The head of a file that the library can be trusted with.
pub(super) fn checked(path: &Path) -> Result<Gguf, BackendError> {
    let gguf = Gguf::open(path)
        .map_err(|e| BackendError::Unsupported(format!("{e} (hint: {})", e.hint())))?;
    check(&gguf).map_err(|why| {
        BackendError::Unsupported(format!(
            "llama.cpp {BUILD} cannot run `{}`: {why}",
            path.display()
        ))
    })?;
    Ok(gguf)
}

fn check(gguf: &Gguf) -> Result<(), String> {
    let architecture = gguf.architecture();
    if !ARCHITECTURES.lines().any(|known| known == architecture) {
        let shown: String = architecture.escape_debug().take(60).collect();
        return Err(format!("it does not know architecture `{shown}`"));
    }
    if gguf.tensors.is_empty() {
        return Err("the file holds a vocabulary and no weights".into());
    }
    let number = |key: &str| gguf.arch(key).and_then(Value::as_u64);
    let bounds = [
        ("block_count", 1, ffi::MAX_LAYERS),
        ("embedding_length", 1, 1 << 20),
        ("feed_forward_length", 0, 1 << 24),
        ("attention.head_count", 0, 1 << 16),
        ("attention.head_count_kv", 0, 1 << 16),
        ("expert_count", 0, ffi::MAX_EXPERTS),
        ("expert_used_count", 0, ffi::MAX_EXPERTS),
        ("context_length", 0, 1 << 30),
    ];
    for (key, low, high) in bounds {
        if let Some(n) = number(key).filter(|n| !(low..=high).contains(n)) {
            return Err(format!("{architecture}.{key} is {n}, outside {low} to {high}"));
        }
    }
    if number("block_count").is_none() {
        return Err(format!("{architecture}.block_count is missing"));
    }
    if let Some(t) = gguf.tensors.iter().find(|t| ggml_type(t.type_id).is_none()) {
        return Err(format!("tensor `{}` has {}", t.name.escape_debug(), t.type_name()));
    }
    Ok(())
}

/// Text architectures of the pinned build, one a line.
const ARCHITECTURES: &str = include_str!("../../../profiles/runtimes/llama.cpp-architectures.txt");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::gguf::{Encoded, GgufWriter, TensorDecl};

    fn write(dir: &Path, arch: &str, layers: u32, tensor: bool) -> std::path::PathBuf {
        let path = dir.join(format!("{arch}-{layers}-{tensor}.gguf"));
        let metadata = vec![
            ("general.architecture".to_owned(), Encoded::string(arch)),
            (format!("{arch}.block_count"), Encoded::u32(layers)),
        ];
        let decl = TensorDecl { name: "output_norm.weight".into(), shape: vec![4], type_id: 0 };
        let decls = if tensor { vec![decl] } else { vec![] };
        let mut writer = GgufWriter::create(&path, &metadata, &decls).unwrap();
        if tensor {
            writer.write(&[0; 16]).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    #[test]
    fn hostile_and_unknown_files_never_reach_the_library() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |arch: &str, layers: u32, tensor: bool| {
            checked(&write(dir.path(), arch, layers, tensor)).err().unwrap().to_string()
        };
        assert!(refused("llama", 4_000_000_000, true).contains("limit"));
        assert!(refused("llama", 600, true).contains("outside 1 to 512"));
        assert!(refused("llama", 0, true).contains("outside 1 to 512"));
        assert!(refused("marsupial", 1, true).contains("does not know architecture"));
        assert!(refused("llama", 1, false).contains("no weights"));
        assert!(checked(&write(dir.path(), "llama", 1, true)).is_ok());
    }
}
