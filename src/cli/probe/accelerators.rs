//! Rates of GPUs and NPUs as the frameworks here reach them: a wide 16-bit decoder, run as `bench` runs any model.
//!
//! A decoded token reads every weight once, so weights x speed is the bandwidth that was reached; a prompt does two
//! operations a weight and token. Both are what a framework gets out of the device, not what its maker promises.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::catalog::{Entry, Shape};
use crate::cli::devices::Answer;
use crate::cli::{CliError, Output, bench, synthetic};
use crate::dirs;
use crate::model::{Metric, ModelKind, Precision, ProcessorKind};
use crate::probe::{AcceleratorPoint, Rate};
use crate::record::{CaseRecord, RunRecord};

/// Wide enough to keep a large GPU busy, few layers so that launching them is a small part, and larger than any
/// last-level cache: 268 million weights, 537 MB.
const LAYERS: u64 = 4;
const HIDDEN: u64 = 2048;
const FFN: u64 = 8192;
const PROMPT: u64 = 512;
const DECODE: &str = "32";
/// Longest wait for a sign of life: a device that needs longer is no accelerator.
const DEADLINE_S: &str = "90";

/// Measures every usable GPU and NPU that `answers` lists; nothing is made or run where there is none.
pub(super) fn measure(answers: &BTreeMap<&str, Answer>, output: &Output) -> Vec<AcceleratorPoint> {
    let mut points = Vec::new();
    for (backend, answer) in answers {
        let usable = |d: &&_| is_accelerator(d);
        for device in answer.devices.iter().filter(usable) {
            output.note(format!("measuring {} by {backend} ...", device.name));
            let mut point = AcceleratorPoint {
                framework: (*backend).to_owned(),
                device: device.id.clone(),
                name: device.name.clone(),
                kind: device.kind,
                read_gbs: None,
                f16_tflops: None,
                run: String::new(),
                problem: String::new(),
            };
            match run(backend, &device.id, output) {
                Ok((dir, case)) => {
                    point.run = dir.display().to_string();
                    read(&case, &mut point);
                }
                Err(e) => point.problem = e.cause,
            }
            points.push(point);
        }
    }
    points
}

fn is_accelerator(d: &crate::backend::BackendDevice) -> bool {
    d.kind != ProcessorKind::Cpu && d.problem.is_empty() && !d.alias
}

/// One case of `bench`, read back from its record.
fn run(backend: &str, device: &str, output: &Output) -> Result<(PathBuf, CaseRecord), CliError> {
    let model = synthetic::of(&entry(), Precision::F16, output)?;
    let runs = dirs::data().join("accelerators");
    let (model, prompt) = (model.to_string_lossy(), PROMPT.to_string());
    let words = [
        &["--quick", "--no-quality", "--backend", backend, "--device", device][..],
        &["--precision", "F16", "--model", &model, "--prompt", &prompt, "--decode", DECODE],
        &["--deadline", DEADLINE_S],
    ];
    let quiet = Output { quiet: true, ..output.clone() };
    let made = bench::run_into(&runs, &words.concat(), &quiet)?.into_iter().next();
    let made = made.ok_or_else(|| CliError::setup("the run left no record"))?;
    let record = RunRecord::load(&made).map_err(CliError::from_error)?;
    let case = record.cases.into_iter().next();
    case.map(|case| (made, case)).ok_or_else(|| CliError::setup("the run has no case"))
}

fn entry() -> Entry {
    let shape = Shape {
        architecture: "llama".into(),
        layers: LAYERS as u32,
        hidden: HIDDEN as u32,
        ffn: FFN as u32,
        heads: 16,
        kv_heads: 16,
        vocabulary: 1024,
        context: 4096,
        tied: true,
        rope_base: 10_000.0,
        norm_epsilon: 1e-5,
        ..Shape::default()
    };
    Entry {
        name: "wide-decoder".into(),
        title: "Wide decoder".into(),
        kind: ModelKind::Llm,
        licence: String::new(),
        parameters: LAYERS * weights_of_a_layer() + 1024 * HIDDEN,
        source: String::new(),
        shape: Some(shape),
        graph: None,
        hub: Vec::new(),
        package: Vec::new(),
    }
}

/// Four square attention matrices and three of the feed-forward.
const fn weights_of_a_layer() -> u64 {
    4 * HIDDEN * HIDDEN + 3 * HIDDEN * FFN
}

fn read(case: &CaseRecord, point: &mut AcceleratorPoint) {
    if !case.outcome.is_completed() {
        point.problem = case.outcome.reason().to_string();
        return;
    }
    let bytes = case.session.weight_bytes.or(case.variant.as_ref().map(|v| v.size_bytes));
    let scaled = |metric, by: f64| {
        let samples: Vec<f64> = case.samples(metric).iter().map(|x| x * by).collect();
        (!samples.is_empty()).then(|| Rate::of(samples))
    };
    point.read_gbs = bytes.and_then(|b| scaled(Metric::DecodeTokS, b as f64 / 1e9));
    let operations = 2 * LAYERS * weights_of_a_layer();
    point.f16_tflops = scaled(Metric::PrefillTokS, operations as f64 / 1e12);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::BackendDevice;
    use crate::catalog::synthesize;

    fn device(kind: ProcessorKind, problem: &str, alias: bool) -> BackendDevice {
        BackendDevice {
            id: "x".into(),
            kind,
            name: "X".into(),
            memory_total_bytes: None,
            memory_free_bytes: None,
            problem: problem.into(),
            alias,
        }
    }

    #[test]
    fn only_usable_gpus_and_npus_are_measured() {
        assert!(is_accelerator(&device(ProcessorKind::DiscreteGpu, "", false)));
        assert!(is_accelerator(&device(ProcessorKind::Npu, "", false)));
        assert!(!is_accelerator(&device(ProcessorKind::Cpu, "", false)));
        assert!(!is_accelerator(&device(ProcessorKind::Npu, "no driver", false)));
        assert!(!is_accelerator(&device(ProcessorKind::IntegratedGpu, "", true)));
    }

    #[test]
    fn the_model_has_the_weights_that_the_formula_counts() {
        let dir = tempfile::tempdir().unwrap();
        let made =
            synthesize(&entry(), Precision::F16, None, &dir.path().join("w.gguf"), &mut |_, _| {})
                .unwrap();
        // Norms are the rest: a vector or two a layer.
        assert!(made.parameters.abs_diff(entry().parameters) < 100_000);
    }
}
