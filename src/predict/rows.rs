//! Public measurement rows: a CSV line becomes a sample, or a reason why not.

use std::io::Read;

use serde::Deserialize;

use super::devices::{DeviceSpec, DeviceTable};
use super::fit::Sample;
use super::observation::{Observation, Rates, Task};
use super::settings::Settings;
use super::shapes;

/// Rows beyond this many are refused: a file this large is not a benchmark table.
pub(super) const MAX_ROWS: usize = 1_000_000;

#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    #[error("line {line}: {source}")]
    Csv { line: usize, source: csv::Error },
    #[error("no column `{0}`")]
    MissingColumn(&'static str),
    #[error("more than {MAX_ROWS} rows")]
    TooMany,
}

/// One line, missing columns and odd cells read as empty.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRow {
    pub device: String,
    pub device_id: String,
    pub device_class: String,
    pub backend: String,
    pub framework: String,
    pub threads_ngl: String,
    pub model: String,
    pub params_b: String,
    pub active_params_b: String,
    pub quant: String,
    pub model_size_gib: String,
    pub size_is_estimate: String,
    pub test: String,
    pub tok_s_mean: String,
    pub notes: String,
    pub quality_flag: String,
}

/// Why a row is not predicted.
pub(super) type Reason = &'static str;

const GIB: f64 = (1u64 << 30) as f64;

/// The kernel whose type holds the experts of a model and nothing else of it.
const EXPERTS_ONLY: &str = "mxfp4";

const REQUIRED: [&str; 5] = ["device_id", "backend", "quant", "test", "tok_s_mean"];

/// Reads all rows.
pub(super) fn read(input: impl Read) -> Result<Vec<RawRow>, RowsError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let headers = reader.headers().map_err(|source| RowsError::Csv { line: 1, source })?.clone();
    for column in REQUIRED {
        if !headers.iter().any(|h| h == column) {
            return Err(RowsError::MissingColumn(column));
        }
    }
    let mut rows = Vec::new();
    for (i, record) in reader.records().enumerate() {
        let record = record.map_err(|source| RowsError::Csv { line: i + 2, source })?;
        let row = record.deserialize(Some(&headers)).unwrap_or_default();
        rows.push(row);
        if rows.len() > MAX_ROWS {
            return Err(RowsError::TooMany);
        }
    }
    Ok(rows)
}

/// Turns a row into a sample.
pub(super) fn sample(row: &RawRow, devices: &DeviceTable) -> Result<Sample, Reason> {
    let settings = Settings::embedded();
    let tok_s = positive(&row.tok_s_mean).ok_or("no measured speed")?;
    let test = parse_test(&row.test).ok_or("test is neither pp nor tg")?;
    let device = devices.get(&row.device_id).ok_or("unknown device")?;
    let size = size(row, settings)?;
    let on_gpu = settings.backends.gpu.contains(&row.backend);
    if on_gpu && device.card_gib.is_some_and(|g| size.bytes > g * GIB) {
        return Err("larger than the card's memory: split in an unknown way");
    }
    let rules = &settings.shape;
    let shape = shapes::find(&row.model, Some(size.billions));
    let weights = shape.and_then(|s| s.weights);
    let kernel = settings.kernel_in_file(&row.quant, size.bits).map_or("other", |(k, _)| k);
    let stored = settings.kernel(kernel).filter(|_| kernel == EXPERTS_ONLY);
    let expert_bits = stored.map(|(_, bits)| bits);
    let mut o = Observation {
        task: test.task,
        device: row.device_id.clone(),
        backend: row.backend.clone(),
        family: settings.family(&row.framework),
        kernel: kernel.to_owned(),
        class: if row.device_class.is_empty() { &device.class } else { &row.device_class }.clone(),
        vendor: device.vendor.clone(),
        memory: device.gpu_kind.split('-').next().unwrap_or_default().to_owned(),
        bandwidth_gbs: 0.0,
        tflops: 0.0,
        matrix_tflops: 0.0,
        rate: String::new(),
        isa: device.isa.clone(),
        architecture: device.architecture.clone(),
        billions: size.billions,
        active_billions: weights.map_or(size.active, |w| w.active),
        prompt_billions: weights.map_or(size.active, |w| w.prompt),
        weight_bytes: size.bytes,
        token_bytes: match weights {
            Some(w) => w.token_bytes(size.bytes, expert_bits),
            None => size.bytes * size.active / size.billions,
        },
        kv_bytes_per_token: match shape {
            Some(s) => s.cache_bytes(test.depth) / test.depth.max(1.0),
            None => rules.kv_bytes_per_layer * rules.layers(size.active),
        },
        layers: shape.map_or_else(|| rules.layers(size.billions), |s| s.layers),
        attention: {
            let positions = test.depth + test.prompt / 2.0;
            let guess = || 2.0 * rules.layers(size.billions) * rules.hidden(size.active);
            shape.map_or_else(|| guess() * positions, |s| s.attention(positions))
        },
        depth: test.depth,
        window: test.window,
        prompt: test.prompt,
        flash_attention: flash(row),
        rough_model: size.rough.then(|| row.model.to_ascii_lowercase()),
    };
    rates(&mut o, device, threads(&row.threads_ngl))
        .ok_or("no memory bandwidth known for the device")?;
    Ok(Sample { device: row.device_id.clone(), observation: o, tok_s })
}

/// Fills bandwidth and compute rates from a specification.
fn rates(o: &mut Observation, d: &DeviceSpec, threads: Option<f64>) -> Option<()> {
    let gpu = o.is_gpu();
    o.bandwidth_gbs =
        d.gpu_bandwidth_gbs.filter(|_| gpu).or(d.bandwidth_gbs).or(d.gpu_bandwidth_gbs)?;
    let rates = if gpu {
        Rates::gpu(d.fp32_tflops, d.matrix_tflops.or(d.fp16_tflops))
    } else if o.backend == "cpu" {
        Rates::cpu(d.cpu_tflops, d.cores, threads)
    } else {
        None
    };
    o.set(rates);
    Some(())
}

struct Size {
    bytes: f64,
    /// Bits a weight of a file whose size is stated.
    bits: Option<f64>,
    billions: f64,
    active: f64,
    rough: bool,
}

fn size(row: &RawRow, settings: &Settings) -> Result<Size, Reason> {
    let bits = settings.kernel(&row.quant).map(|(_, bits)| bits);
    let stated = positive(&row.params_b);
    let named = named_billions(&row.model);
    let file = positive(&row.model_size_gib).map(|g| g * GIB);
    let billions = stated
        .or(named)
        .or_else(|| shapes::find(&row.model, None).map(|s| s.billions))
        .or_else(|| Some(file? * 8.0 / bits? / 1e9))
        .ok_or("neither parameters nor size known")?;
    let bytes = match (file, bits) {
        (Some(f), _) => f,
        (None, Some(b)) => billions * 1e9 * b / 8.0,
        (None, None) => return Err("neither file size nor storage type known"),
    };
    let active = positive(&row.active_params_b)
        .or_else(|| if stated.is_none() { named_active(&row.model) } else { None })
        .unwrap_or(billions)
        .min(billions);
    let rough = file.is_none() || !row.size_is_estimate.is_empty() || active < 0.8 * billions;
    let sized = row.size_is_estimate.is_empty();
    let bits = file.filter(|_| sized).map(|f| f * 8.0 / billions / 1e9);
    Ok(Size { bytes, bits, billions, active, rough })
}

struct Test {
    task: Task,
    depth: f64,
    window: f64,
    prompt: f64,
}

/// `tg128`, `pp2048@d32768`, `tg@ctx4096` (a compiled window), `tg64@pp512`, `tg(long-context-8k)`.
fn parse_test(test: &str) -> Option<Test> {
    let t = test.to_ascii_lowercase();
    let task = match t.get(..2)? {
        "tg" => Task::Decode,
        "pp" => Task::Prefill,
        _ => return None,
    };
    let count = leading(&t[2..]);
    let after = |mark: &str| t.find(mark).and_then(|i| leading(&t[i + mark.len()..]));
    let kilo = after("long-context-").map(|k| k * 1024.0);
    let before = after("@d").or(kilo).unwrap_or(0.0);
    let input = after("@in").or(after("@pp"));
    let window = after("@ctx").unwrap_or(0.0);
    Some(match task {
        Task::Decode => Test {
            task,
            depth: before + input.unwrap_or(0.0) + count.unwrap_or(128.0) / 2.0,
            window,
            prompt: 0.0,
        },
        Task::Prefill => {
            let prompt = count.or((window > 0.0).then_some(window)).unwrap_or(512.0).max(1.0);
            Test { task, depth: before, window, prompt }
        }
    })
}

/// The number a text starts with.
fn leading(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text[..end].parse().ok().filter(|v: &f64| v.is_finite() && *v < 1e8)
}

fn positive(cell: &str) -> Option<f64> {
    cell.trim().parse().ok().filter(|v: &f64| v.is_finite() && *v > 0.0)
}

/// `t=8` or `t=8.0`.
fn threads(cell: &str) -> Option<f64> {
    let at = cell.split([',', ';', ' ']).find_map(|w| w.strip_prefix("t="))?;
    positive(at)
}

fn flash(row: &RawRow) -> Option<bool> {
    let has = |m: &str| row.notes.contains(m) || row.threads_ngl.contains(m);
    if has("fa=1") {
        Some(true)
    } else if has("fa=0") {
        Some(false)
    } else {
        None
    }
}

/// Parameter count in a model's name: `Qwen2.5-7B`, `smollm-135M`; the largest, so that `30B-A3B` is 30. `E2B` is none: those
/// are what Gemma counts as effective.
fn named_billions(model: &str) -> Option<f64> {
    words(model).filter_map(billions_word).reduce(f64::max)
}

/// Active parameters in a name: `A3B`.
fn named_active(model: &str) -> Option<f64> {
    words(model).find_map(|w| billions_word(w.strip_prefix(['a', 'A'])?))
}

fn words(model: &str) -> impl Iterator<Item = &str> {
    model.split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
}

fn billions_word(word: &str) -> Option<f64> {
    let (digits, unit) = word.split_at(word.len().checked_sub(1)?);
    let scale = match unit {
        "b" | "B" => 1.0,
        "m" | "M" => 1e-3,
        _ => return None,
    };
    digits.parse::<f64>().ok().filter(|v| *v > 0.0 && *v < 1e5).map(|v| v * scale)
}
