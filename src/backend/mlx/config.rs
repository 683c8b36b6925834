//! The `config.json` that mlx-lm wants, from the metadata of a GGUF file.

use serde_json::{Value as Json, json};

use crate::backend::BackendError;
use crate::formats::gguf::{Gguf, Value};

/// Dimensions beyond this are no model's.
const MAX: u64 = 1 << 24;

/// A decoder as mlx-lm configures it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Config {
    pub json: Json,
    /// Query and key rows are stored as neighbouring rotary pairs, which MLX wants as two halves.
    pub paired: bool,
}

/// GGUF architecture, `model_type`, whether its query and key rows are paired (as llama.cpp's converter does).
const ARCHITECTURES: &[(&str, &str, bool)] = &[
    ("llama", "llama", true),
    ("qwen2", "qwen2", false),
    ("qwen3", "qwen3", false),
    ("smollm3", "smollm3", true),
];

impl Config {
    pub(super) fn read(gguf: &Gguf) -> Result<Self, BackendError> {
        let key = gguf.architecture();
        let known = ARCHITECTURES.iter().find(|a| a.0 == key).ok_or_else(|| {
            let all: Vec<_> = ARCHITECTURES.iter().map(|a| a.0).collect();
            let shown: String = key.escape_debug().take(60).collect();
            unsupported(format!("architecture `{shown}`; {} are", all.join(", ")))
        })?;
        let whole = |name: &str| match gguf.arch(name) {
            None => Ok(None),
            Some(v) => v.as_u64().filter(|n| (1..=MAX).contains(n)).map(Some).ok_or_else(|| {
                unsupported(format!("`{key}.{name}` that is no number from 1 to {MAX}"))
            }),
        };
        let need = |name: &str| {
            whole(name)?.ok_or_else(|| unsupported(format!("a file without `{key}.{name}`")))
        };
        if gguf.arch("expert_count").and_then(Value::as_u64).unwrap_or(0) > 0 {
            return Err(unsupported("a mixture of experts".into()));
        }
        if let Some(kind) = gguf.arch("rope.scaling.type").and_then(Value::as_str)
            && kind != "none"
        {
            let shown: String = kind.escape_debug().take(60).collect();
            return Err(unsupported(format!("`{shown}` scaling of rotary positions")));
        }
        let (hidden, heads) = (need("embedding_length")?, need("attention.head_count")?);
        let head_dim = whole("attention.key_length")?.unwrap_or(hidden / heads);
        if whole("attention.value_length")?.is_some_and(|v| v != head_dim) {
            return Err(unsupported("keys and values of different width".into()));
        }
        if whole("rope.dimension_count")?.is_some_and(|r| r != head_dim) {
            return Err(unsupported("heads that are rotated in part".into()));
        }
        let number = |name: &str, default: f64| {
            let value = gguf.arch(name).and_then(Value::as_f64);
            value.filter(|x| x.is_finite() && *x > 0.0).unwrap_or(default)
        };
        let vocabulary = gguf.tensor("token_embd.weight").and_then(|t| t.shape.get(1).copied());
        let vocabulary = vocabulary
            .filter(|n| (1..=MAX).contains(n))
            .ok_or_else(|| unsupported("a file without a `token_embd.weight` matrix".into()))?;
        let has = |name: &str| gguf.tensor(name).is_some();
        let json = json!({
            "model_type": known.1,
            "hidden_size": hidden,
            "num_hidden_layers": need("block_count")?,
            "intermediate_size": need("feed_forward_length")?,
            "num_attention_heads": heads,
            "num_key_value_heads": whole("attention.head_count_kv")?.unwrap_or(heads),
            "head_dim": head_dim,
            "rms_norm_eps": number("attention.layer_norm_rms_epsilon", 1e-5),
            "vocab_size": vocabulary,
            "rope_theta": number("rope.freq_base", 10_000.0),
            "max_position_embeddings": whole("context_length")?.unwrap_or(4096),
            "tie_word_embeddings": !has("output.weight"),
            "attention_bias": has("blk.0.attn_q.bias"),
            "mlp_bias": has("blk.0.ffn_up.bias"),
        });
        Ok(Self { json, paired: known.2 })
    }
}

fn unsupported(what: String) -> BackendError {
    BackendError::Unsupported(format!("not converted to MLX: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::gguf::{Encoded, GgufWriter, TensorDecl};

    fn read(architecture: &str, change: &[(&str, Encoded)]) -> Result<Config, BackendError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let mut metadata = vec![("general.architecture".to_owned(), Encoded::string(architecture))];
        for (key, value) in [
            ("embedding_length", 64u32),
            ("block_count", 2),
            ("feed_forward_length", 128),
            ("attention.head_count", 4),
            ("attention.head_count_kv", 2),
        ] {
            if !change.iter().any(|(k, _)| *k == key) {
                metadata.push((format!("{architecture}.{key}"), Encoded::u32(value)));
            }
        }
        for (key, value) in change {
            metadata.push((format!("{architecture}.{key}"), value.clone()));
        }
        let decl = TensorDecl { name: "token_embd.weight".into(), shape: vec![64, 10], type_id: 0 };
        let mut writer = GgufWriter::create(&path, &metadata, &[decl]).unwrap();
        writer.write(&[0; 64 * 10 * 4]).unwrap();
        writer.finish().unwrap();
        Config::read(&Gguf::open(&path).unwrap())
    }

    #[test]
    fn a_decoder_s_shape_becomes_its_config() {
        let config = read("llama", &[]).unwrap();
        assert!(config.paired);
        for (key, wanted) in [
            ("head_dim", json!(16)),
            ("num_key_value_heads", json!(2)),
            ("vocab_size", json!(10)),
            ("tie_word_embeddings", json!(true)),
            ("attention_bias", json!(false)),
        ] {
            assert_eq!(config.json[key], wanted, "{key}");
        }
        assert!(!read("qwen3", &[]).unwrap().paired);
    }

    #[test]
    fn what_mlx_would_run_differently_is_refused_by_name() {
        let refused = |architecture: &str, change: &[(&str, Encoded)]| {
            read(architecture, change).unwrap_err().to_string()
        };
        assert!(refused("mamba", &[]).contains("`mamba`"));
        assert!(refused("llama", &[("expert_count", Encoded::u32(8))]).contains("mixture"));
        assert!(refused("llama", &[("rope.dimension_count", Encoded::u32(8))]).contains("in part"));
        assert!(
            refused("llama", &[("rope.scaling.type", Encoded::string("yarn"))]).contains("yarn")
        );
        assert!(refused("llama", &[("embedding_length", Encoded::u32(0))]).contains("number"));
    }
}
