//! Exact commands that install and start a candidate, from the framework's templates.

use std::path::PathBuf;

use serde::Serialize;

use super::candidate::Candidate;
use super::decide::Input;
use crate::model::Precision;
use crate::predict::KvPrecision;

/// Where the model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelSource {
    /// A file here.
    File { path: PathBuf },
    /// Hub repositories, `owner/name`: of the original weights, and those with GGUF files.
    Hub { original: Option<String>, gguf: Vec<GgufFiles> },
    /// Only a name or a size.
    None,
}

/// A repository and the precisions it is known to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GgufFiles {
    pub repository: String,
    pub precisions: Vec<Precision>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Commands {
    /// Empty where nothing needs installing.
    pub install: String,
    pub run: String,
}

/// Install and run commands of a candidate.
pub(super) fn commands(input: &Input<'_>, c: &Candidate) -> Commands {
    let Some(target) = c.target else {
        return Commands { install: String::new(), run: String::new() };
    };
    let install =
        if c.state.is_ready() { String::new() } else { target.install_on(&input.device.os) };
    let graph = !input.model.kind.generates();
    let here = matches!(input.source, ModelSource::File { .. });
    let template = if graph {
        let file = target.run.get("file").filter(|_| here);
        file.or(target.run.get("graph")).or(target.run.get("any"))
    } else {
        target.run.get("any").or(target.run.get("graph"))
    };
    let run = template.map_or_else(String::new, |t| fill(t, input, c));
    Commands { install, run }
}

fn fill(template: &str, input: &Input<'_>, c: &Candidate) -> String {
    let source = input.source;
    let name: String = input
        .model
        .name
        .to_lowercase()
        .chars()
        .map(|ch| if ch.is_ascii_alphanumeric() || ".-_".contains(ch) { ch } else { '-' })
        .collect();
    let file = format!("{name}-{}.gguf", c.precision);
    let (original, published) = match source {
        ModelSource::Hub { original, gguf } => {
            (original.as_ref(), gguf.iter().find(|g| g.precisions.contains(&c.precision)))
        }
        _ => (None, None),
    };
    let gguf_source = match (source, published) {
        (ModelSource::File { path }, _) => format!("-m {}", quote(&path.to_string_lossy())),
        (_, Some(g)) => format!("-hf {}", quote(&format!("{}:{}", g.repository, c.precision))),
        _ => format!("-m {file}"),
    };
    let framework = input.frameworks.get(&c.framework);
    let text = framework.and_then(|f| f.text.as_ref());
    let own_name = text.and_then(|t| t.own_name(&input.model.name));
    let need = text.and_then(|t| t.needs.get(&input.model.architecture));
    let convert = framework.and_then(|f| f.convert.as_ref());
    let template = match convert.filter(|_| original.is_some() && published.is_none()) {
        Some(convert) => format!("{convert} && {template}"),
        None => template.to_owned(),
    };
    let hub = original.map_or_else(|| "HF_REPOSITORY".to_owned(), |r| quote(r));
    let kv = match input.request.kv {
        KvPrecision::F16 => String::new(),
        kv => format!(" --cache-type-k {kv} --cache-type-v {kv}"),
    };
    let ngl = c.gpu_layers.map_or(99, |(n, _)| n);
    let onnx = match source {
        ModelSource::File { path } => quote(&path.to_string_lossy()),
        _ => format!("{name}.onnx"),
    };
    let pairs: [(&str, String); 17] = [
        ("{file}", file),
        ("{source}", gguf_source),
        ("{hub}", hub),
        ("{own_name}", own_name.map_or_else(|| name.replace(['-', '.'], "_"), str::to_owned)),
        ("{need}", need.map_or_else(String::new, |n| format!(" {}", quote(n)))),
        ("{name}", name),
        ("{precision}", c.precision.to_string()),
        ("{bits}", genai_bits(c.precision).to_owned()),
        ("{ov_format}", openvino_format(c.precision).to_owned()),
        ("{mlx_weights}", mlx_weights(c.precision)),
        ("{npu_type}", c.precision.name().to_lowercase()),
        ("{olive_pass}", olive_pass(c.precision).to_owned()),
        ("{threads}", threads(input).to_string()),
        ("{ngl}", ngl.to_string()),
        ("{context}", input.request.context.to_string()),
        ("{kv_flags}", kv),
        ("{onnx}", onnx),
    ];
    pairs.iter().fold(template, |t, (k, v)| t.replace(k, v))
}

/// One thread a fast core: hyper-threads and small cores slow the others down at every barrier.
pub(super) fn threads(input: &Input<'_>) -> u32 {
    let cpu = &input.device.cpu;
    let cores = if cpu.performance_cores > 0 { cpu.performance_cores } else { cpu.threads };
    let allowed = if input.device.limits.cpus >= 1.0 { input.device.limits.cpus as u32 } else { 1 };
    input.request.threads.unwrap_or_else(|| cores.min(allowed.max(1)).max(1))
}

fn genai_bits(p: Precision) -> &'static str {
    if p == Precision::Int4AsymG32 {
        return "int4 --extra_options is_symmetric=false";
    }
    match p.bits_per_weight() {
        b if b < 7.0 => "int4",
        b if b < 10.0 => "int8",
        b if b < 20.0 => "fp16",
        _ => "fp32",
    }
}

fn openvino_format(p: Precision) -> &'static str {
    match p {
        Precision::Int4AsymG64 => "int4 --group-size 64",
        Precision::Int4SymG128 => "int4 --sym --group-size 128",
        Precision::Int4SymPerChannel => "int4 --sym --group-size -1",
        Precision::F16 => "fp16",
        _ => "int8",
    }
}

fn olive_pass(p: Precision) -> &'static str {
    match p {
        Precision::Int8Dynamic => "OnnxDynamicQuantization",
        Precision::Int8Static => "OnnxStaticQuantization",
        Precision::F16 => "OnnxFloatToFloat16",
        _ => "OrtTransformersOptimization",
    }
}

fn mlx_weights(p: Precision) -> String {
    match p {
        Precision::F16 => "--dtype float16".to_owned(),
        p => format!("-q --q-bits {} --q-group-size 64", p.bits_per_weight().floor()),
    }
}

/// Quoted for a shell where it holds anything but plain characters.
fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@+=%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) && !text.starts_with('-') {
        return text.to_owned();
    }
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("'{}'", clean.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn a_hostile_path_stays_one_shell_word() {
        assert_eq!(quote("a/b.gguf"), "a/b.gguf");
        assert_eq!(quote("a b;rm -rf"), "'a b;rm -rf'");
        assert_eq!(quote("it's"), "'it'\\''s'");
        assert_eq!(quote("-x"), "'-x'");
    }
}
