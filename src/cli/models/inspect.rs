//! `models inspect`: what a model file holds, from its head alone.

use std::fmt::Write;

use clap::Args;

use super::{count, kind_name, plan, size};
use crate::catalog::{Catalog, CatalogError, build, resolve_model};
use crate::cli::{CliResult, Format, Output, exit};
use crate::formats::onnx::{Dim, OnnxSummary, Port};
use crate::formats::{Inspection, Tokenizer, inspect};
use crate::model::{Attention, ModelSpec};

/// Shows what is in a model file, or the shape of a catalogue model that is not here.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// GGUF, ONNX or safetensors file, Hugging Face directory, or a name from `models list`.
    model: String,
    #[command(flatten)]
    plan: plan::PlanArgs,
}

pub(super) fn run(args: &InspectArgs, output: &Output) -> CliResult {
    let resolved = match resolve_model(&args.model) {
        Ok(resolved) => resolved,
        Err(CatalogError::NotHere { name }) => {
            let catalog = Catalog::load()?;
            let spec = build(catalog.get(&name)?);
            output.note(format!("{name} is not on this machine: shape from the catalogue"));
            if let Some(result) = plan::run(&args.plan, &spec, output) {
                return result;
            }
            match output.format {
                Format::Json => output.json(&spec)?,
                _ => output.data(&shape_text(&spec))?,
            }
            return Ok(exit::OK);
        }
        Err(e) => return Err(e.into()),
    };
    let inspection = inspect(&resolved.path)?;
    if let Some(result) = plan::run(&args.plan, &inspection.spec, output) {
        return result;
    }
    match output.format {
        Format::Json => output.json(&inspection)?,
        _ => output.data(&text(&inspection))?,
    }
    Ok(exit::OK)
}

fn text(i: &Inspection) -> String {
    let bytes = i.files.iter().map(|f| f.bytes).fold(0, u64::saturating_add);
    let mut out = shape_text(&i.spec);
    row(&mut out, "format", &i.format);
    row(&mut out, "size", &format!("{} ({} bytes)", size(bytes), bytes));
    if i.files.len() > 1 {
        row(&mut out, "files", &i.files.len().to_string());
        for f in &i.files {
            let name = f.path.file_name().unwrap_or_default().to_string_lossy();
            row(&mut out, "", &format!("{} {}", clean(&name, 50), size(f.bytes)));
        }
    }
    if let Some(bits) = i.spec.bits_per_weight() {
        row(&mut out, "true width", &format!("{bits:.2} bits per weight"));
    }
    let _ = writeln!(out, "\n{:<16}{:>8}{:>18}{:>9}", "TENSOR TYPE", "TENSORS", "BYTES", "SHARE");
    let all = i.types.iter().map(|t| t.bytes).fold(0, u64::saturating_add).max(1);
    for t in &i.types {
        let share = 100.0 * t.bytes as f64 / all as f64;
        let name = clean(&t.dtype, 15);
        let _ = writeln!(out, "{name:<16}{:>8}{:>18}{share:>7.1} %", t.tensors, t.bytes);
    }
    if let Some(t) = &i.tokenizer {
        tokenizer(&mut out, t);
    }
    if let Some(onnx) = &i.onnx {
        graph(&mut out, onnx);
    }
    out
}

fn shape_text(s: &ModelSpec) -> String {
    let mut out = format!("{}\n", clean(&s.name, 78));
    row(
        &mut out,
        "architecture",
        &format!("{} ({})", clean(&s.architecture, 40), kind_name(s.kind)),
    );
    let active = match s.active_parameters == s.parameters {
        true => String::new(),
        false => format!(", {} active a token", count(s.active_parameters)),
    };
    row(&mut out, "parameters", &format!("{} ({}){active}", count(s.parameters), s.parameters));
    if s.hidden > 0 {
        row(&mut out, "width", &s.hidden.to_string());
    }
    for (layers, kind) in layer_groups(&s.layers) {
        row(&mut out, "layers", &format!("{layers} x {kind}"));
    }
    if s.is_moe() {
        row(&mut out, "experts", &format!("{}, {} active", s.experts, s.experts_used));
    }
    if s.vocabulary > 0 {
        let tied = if s.tied_output { ", output tied to the embedding" } else { "" };
        row(&mut out, "vocabulary", &format!("{}{tied}", s.vocabulary));
    }
    if s.context_length > 0 {
        row(&mut out, "context", &format!("{} tokens", s.context_length));
    }
    out
}

fn layer_groups(layers: &[Attention]) -> Vec<(u32, String)> {
    let mut groups: Vec<(u32, String)> = Vec::new();
    for layer in layers {
        let kind = layer_text(layer);
        match groups.iter_mut().find(|(_, k)| *k == kind) {
            Some((n, _)) => *n += 1,
            None => groups.push((1, kind)),
        }
    }
    groups
}

fn layer_text(layer: &Attention) -> String {
    match *layer {
        Attention::Gqa { heads, kv_heads, key_dim, window, shared, .. } => {
            let window = window.map_or(String::new(), |w| format!(", window {w}"));
            let shared = if shared { ", shares a cache" } else { "" };
            format!("{heads} heads, {kv_heads} key-value, width {key_dim}{window}{shared}")
        }
        Attention::Parallel { heads, kv_heads, key_dim, state_elements, .. } => {
            format!("{heads} heads, {kv_heads} key-value, width {key_dim}, state {state_elements}")
        }
        Attention::Mla { heads, kv_lora_rank, rope_dim } => {
            format!("{heads} heads, latent {kv_lora_rank} + {rope_dim}")
        }
        Attention::Recurrent { state_elements } => format!("recurrent, state {state_elements}"),
        Attention::Encoder { heads, head_dim } => {
            format!("{heads} heads, width {head_dim}, both directions")
        }
        Attention::None => "feed-forward only".to_owned(),
    }
}

fn tokenizer(out: &mut String, t: &Tokenizer) {
    out.push('\n');
    let pre = t.pre.as_deref().map_or(String::new(), |p| format!(" / {}", clean(p, 30)));
    let merges = t.merges.map_or(String::new(), |m| format!(", {m} merges"));
    let tokens = t.vocabulary;
    row(out, "tokenizer", &format!("{}{pre}, {tokens} tokens{merges}", clean(&t.model, 20)));
    match &t.chat_template {
        None => row(out, "chat template", "none"),
        Some(template) => {
            row(out, "chat template", &format!("{} characters", template.chars().count()));
            for line in template.lines().filter(|l| !l.trim().is_empty()).take(3) {
                row(out, "", &clean(line, 62));
            }
        }
    }
}

fn graph(out: &mut String, o: &OnnxSummary) {
    out.push('\n');
    let domain = |d: &str| if d.is_empty() { "ai.onnx".to_owned() } else { clean(d, 20) };
    let opsets: Vec<String> =
        o.opsets.iter().map(|s| format!("{} {}", domain(&s.domain), s.version)).collect();
    row(out, "opset", &clean(&opsets.join(", "), 62));
    row(out, "producer", &format!("{}, IR {}", clean(&o.producer, 40), o.ir_version));
    for (label, ports) in [("inputs", &o.inputs), ("outputs", &o.outputs)] {
        for (n, p) in ports.iter().enumerate().take(8) {
            row(out, if n == 0 { label } else { "" }, &port(p));
        }
        if ports.len() > 8 {
            row(out, "", &format!("and {} more", ports.len() - 8));
        }
    }
    let mut operators: Vec<(&str, u64)> =
        o.operators.iter().map(|(k, &n)| (k.as_str(), n)).collect();
    operators.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let _ = writeln!(out, "\n{:<40}{:>8}", "OPERATOR", "NODES");
    for (name, n) in operators.iter().take(20) {
        let _ = writeln!(out, "{:<40}{n:>8}", clean(name, 39));
    }
    if operators.len() > 20 {
        let _ = writeln!(out, "and {} more kinds", operators.len() - 20);
    }
}

fn port(p: &Port) -> String {
    let dims: Vec<String> = p
        .dims
        .iter()
        .map(|d| match d {
            Dim::Fixed(n) => n.to_string(),
            Dim::Free(name) if name.is_empty() => "?".into(),
            Dim::Free(name) => clean(name, 16),
        })
        .collect();
    clean(&format!("{} {} [{}]", p.name, p.dtype, dims.join(", ")), 62)
}

fn row(out: &mut String, label: &str, value: &str) {
    let _ = writeln!(out, "  {label:<14}{value}");
}

/// Text from a file, safe for a terminal and cut to a width.
fn clean(text: &str, width: usize) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out: String = printable.take(width).collect();
    if text.chars().count() > width {
        out.pop();
        out.push('~');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_file_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\n", 20), "a [31mb ");
        assert_eq!(clean("abcdef", 4), "abc~");
    }

    #[test]
    fn every_catalogue_shape_fits_80_columns() {
        for entry in Catalog::load_with(None).unwrap().entries() {
            for line in shape_text(&build(entry)).lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }
}
