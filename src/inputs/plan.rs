//! Which input of a graph takes what: by name, type and axes, as exporters write them.

use super::{Part, audio, bytes, image, text};
use crate::formats::onnx::{Dim, OnnxSummary, Port};
use crate::formats::tokenizer::Tokenizer;
use crate::model::{ModelKind, Tensor, TensorData};

/// Samples of an evaluation set that holds no text.
const EVALUATION: usize = 16;
const CALIBRATION: usize = 16;
/// Elements of one sample's largest tensor.
const MAX_ELEMENTS: usize = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("input `{name}` ({dtype}, {axes} axes): no rule says what to fill it with")]
    NoRule { name: String, dtype: String, axes: usize },
    #[error("input `{name}` takes batches of {takes} only, asked is {asked}")]
    Batch { name: String, takes: u64, asked: u32 },
    #[error("input `{name}` would hold {elements} values")]
    TooLarge { name: String, elements: usize },
    #[error("cannot tokenize: {0}")]
    Tokenizer(String),
}

/// What inputs are made for.
pub struct Inputs<'a> {
    pub graph: &'a OnnxSummary,
    pub kind: ModelKind,
    /// The model's own; without it, token ids are bytes of the text.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Shape of the main input where the file leaves axes open, batch first, 0 for one that varies.
    pub shape: Option<&'a [u64]>,
    pub batch: u32,
    /// Tokens, samples, frames, or a picture's side; 0 for the usual.
    pub length: u32,
}

/// The samples, and what a reader of the results must know of them.
#[derive(Debug)]
pub struct Made {
    pub samples: Vec<Vec<Tensor>>,
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    Tokens,
    Mask,
    Zeros,
    Positions,
    Rate,
    Bytes,
    Picture,
    Sound,
    Mel,
}

/// Makes the samples of one part.
pub fn make(inputs: &Inputs<'_>, part: Part) -> Result<Made, InputError> {
    let mut plans = Vec::new();
    let mut main_seen = false;
    for port in &inputs.graph.inputs {
        let rule = rule(port, inputs.kind)?;
        let main =
            !main_seen && matches!(rule, Rule::Bytes | Rule::Picture | Rule::Sound | Rule::Mel);
        main_seen |= main;
        plans.push((port, rule, shape(port, rule, inputs, main)?));
    }
    let has_text = plans.iter().any(|(_, rule, _)| *rule == Rule::Tokens);
    let batch = inputs.batch.max(1) as usize;
    let rows = match (part, has_text) {
        (Part::Evaluation, true) => text::DOCUMENTS + text::QUERIES,
        (Part::Evaluation, false) => EVALUATION.max(batch),
        (Part::Calibration, _) => CALIBRATION.max(batch),
    };
    let mut notes = Vec::new();
    if has_text && inputs.tokenizer.is_none() {
        notes.push(
            "no tokenizer.json beside the model: token ids are bytes, not its own tokens".into(),
        );
    }
    let samples = (0..rows.div_ceil(batch)).map(|i| sample(&plans, inputs, part, i * batch, batch));
    Ok(Made { samples: samples.collect::<Result<_, _>>()?, notes })
}

fn rule(port: &Port, kind: ModelKind) -> Result<Rule, InputError> {
    let name = port.name.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|p| name.contains(p));
    let integer = matches!(port.dtype.as_str(), "INT64" | "INT32" | "BOOL");
    let float = port.dtype == "FLOAT";
    let axes = port.dims.len();
    Ok(match (integer, float, axes) {
        (true, _, 0 | 1) if has(&["sr", "rate"]) => Rule::Rate,
        (true, _, _) if has(&["mask"]) => Rule::Mask,
        (true, _, _) if has(&["token_type", "segment"]) => Rule::Zeros,
        (true, _, _) if has(&["position"]) => Rule::Positions,
        (true, _, 2) if has(&["input_ids", "tokens"]) => Rule::Tokens,
        (true, _, 2) if port.dtype != "BOOL" => Rule::Bytes,
        (_, true, 4) => Rule::Picture,
        (_, false, 4) if port.dtype == "UINT8" => Rule::Picture,
        (_, true, 1..=3)
            if has(&["state", "cache", "hidden"]) || ["h", "c", "h0", "c0"].contains(&&*name) =>
        {
            Rule::Zeros
        }
        (_, true, 1 | 2) if kind == ModelKind::Speech => Rule::Sound,
        (_, true, 3) if kind == ModelKind::Speech => Rule::Mel,
        _ => {
            let (name, dtype) = (port.name.clone(), port.dtype.clone());
            return Err(InputError::NoRule { name, dtype, axes });
        }
    })
}

/// Axes as they will be; an axis that the file leaves open takes the catalogue's size, the asked length or the usual one.
fn shape(
    port: &Port,
    rule: Rule,
    inputs: &Inputs<'_>,
    main: bool,
) -> Result<Vec<usize>, InputError> {
    let known = |axis: usize| {
        let told = inputs.shape.filter(|s| main && s.len() == port.dims.len());
        match port.dims[axis] {
            // Some exporters write 0 for an axis that varies.
            Dim::Fixed(n) if n > 0 => Some(n),
            // The batch is the workload's to say.
            _ => told.filter(|_| axis > 0).map(|s| s[axis]).filter(|&n| n > 0),
        }
    };
    let length = |usual: u32| u64::from(if inputs.length > 0 { inputs.length } else { usual });
    let mut out = Vec::new();
    for axis in 0..port.dims.len() {
        let open = match (rule, axis) {
            (_, 0) | (Rule::Zeros, 1) if port.dims.len() != 2 || axis == 0 => {
                u64::from(inputs.batch)
            }
            (Rule::Picture, _) if channels_last(port) => {
                if axis == 3 {
                    3
                } else {
                    length(224)
                }
            }
            (Rule::Picture, 1) => 3,
            // A fixed low height is a line of text: its width is what varies.
            (Rule::Picture, _) => match known(2) {
                Some(h) if axis == 3 && h <= 64 => length(320),
                _ => length(224),
            },
            (Rule::Tokens | Rule::Mask | Rule::Zeros | Rule::Positions, _) => length(128),
            (Rule::Mel, 1) => 80,
            (Rule::Mel, _) => length(3000),
            (Rule::Sound, _) => length(audio::RATE as u32),
            _ => length(2048),
        };
        out.push(known(axis).unwrap_or(open) as usize);
    }
    let (name, asked) = (port.name.clone(), inputs.batch);
    if rule != Rule::Zeros && rule != Rule::Rate && out.len() > 1 && out[0] != asked as usize {
        return Err(InputError::Batch { name, takes: out[0] as u64, asked });
    }
    let elements = out.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(usize::MAX);
    match elements > MAX_ELEMENTS {
        true => Err(InputError::TooLarge { name, elements }),
        false => Ok(out),
    }
}

fn channels_last(port: &Port) -> bool {
    matches!(port.dims.last(), Some(Dim::Fixed(1 | 3)))
        && !matches!(port.dims.get(1), Some(Dim::Fixed(1 | 3)))
}

fn sample(
    plans: &[(&Port, Rule, Vec<usize>)],
    inputs: &Inputs<'_>,
    part: Part,
    first: usize,
    batch: usize,
) -> Result<Vec<Tensor>, InputError> {
    let mut rows = Vec::new();
    if let Some((_, _, shape)) = plans.iter().find(|(_, rule, _)| *rule == Rule::Tokens) {
        for row in first..first + batch {
            let row = text::row(inputs.tokenizer, part, row, shape[1]);
            rows.push(row.map_err(InputError::Tokenizer)?);
        }
    }
    let tensor = |(port, rule, shape): &(&Port, Rule, Vec<usize>)| {
        let elements: usize = shape.iter().product();
        let data = match rule {
            Rule::Tokens => {
                integers(port, rows.iter().flat_map(|r| r.ids.iter().map(|&id| i64::from(id))))
            }
            Rule::Mask if !rows.is_empty() && shape.len() == 2 => integers(
                port,
                rows.iter().flat_map(|r| (0..shape[1]).map(|i| i64::from(i < r.used))),
            ),
            Rule::Mask => integers(port, std::iter::repeat_n(1, elements)),
            Rule::Positions => {
                let last = shape.last().copied().unwrap_or(1).max(1);
                integers(port, (0..elements).map(|i| (i % last) as i64))
            }
            Rule::Rate => integers(port, std::iter::repeat_n(audio::RATE as i64, elements)),
            Rule::Zeros if port.dtype == "FLOAT" => TensorData::F32(vec![0.0; elements]),
            Rule::Zeros => integers(port, std::iter::repeat_n(0, elements)),
            Rule::Bytes => {
                let each = |row| bytes::file(part, row, shape[1]).into_iter().map(i64::from);
                integers(port, (first..first + batch).flat_map(each))
            }
            Rule::Picture => pictures(port, shape, part, first),
            Rule::Sound => {
                let count = shape.last().copied().unwrap_or(0);
                let rows = elements.checked_div(count).unwrap_or(0);
                TensorData::F32(
                    (first..first + rows).flat_map(|r| audio::speech(part, r, count)).collect(),
                )
            }
            Rule::Mel => {
                let each = |row| audio::mel(part, row, shape[1], shape[2]);
                TensorData::F32((first..first + batch).flat_map(each).collect())
            }
        };
        Tensor { name: port.name.clone(), shape: shape.clone(), data }
    };
    Ok(plans.iter().map(tensor).collect())
}

fn integers(port: &Port, values: impl Iterator<Item = i64>) -> TensorData {
    match port.dtype.as_str() {
        "INT32" => TensorData::I32(values.map(|v| v as i32).collect()),
        "BOOL" => TensorData::Bool(values.map(|v| v != 0).collect()),
        _ => TensorData::I64(values.collect()),
    }
}

/// Mean and deviation that picture models are trained with (ImageNet's; text lines as PP-OCR scales them).
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
const TEXT_LINE: ([f32; 3], [f32; 3]) = ([0.5; 3], [0.5; 3]);

fn pictures(port: &Port, shape: &[usize], part: Part, first: usize) -> TensorData {
    let last = channels_last(port);
    let (channels, height, width) = match last {
        true => (shape[3], shape[1], shape[2]),
        false => (shape[1], shape[2], shape[3]),
    };
    let (mean, deviation) = if image::is_text_line(width, height) { TEXT_LINE } else { IMAGENET };
    let mut values = Vec::with_capacity(shape.iter().product());
    for row in first..first + shape[0] {
        let picture = image::picture(part, row, width, height);
        let scaled = |pixel: [f32; 3], c: usize| match port.dtype.as_str() {
            "UINT8" => pixel[c % 3],
            _ => (pixel[c % 3] / 255.0 - mean[c % 3]) / deviation[c % 3],
        };
        if last {
            values.extend(picture.pixels.iter().flat_map(|p| (0..channels).map(|c| scaled(*p, c))));
        } else {
            for c in 0..channels {
                values.extend(picture.pixels.iter().map(|p| scaled(*p, c)));
            }
        }
    }
    match port.dtype.as_str() {
        "UINT8" => TensorData::U8(values.into_iter().map(|v| v as u8).collect()),
        _ => TensorData::F32(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, dtype: &str, dims: &[u64]) -> Port {
        let dim = |&n: &u64| if n == 0 { Dim::Free(String::new()) } else { Dim::Fixed(n) };
        Port { name: name.into(), dtype: dtype.into(), dims: dims.iter().map(dim).collect() }
    }

    fn made(
        ports: Vec<Port>,
        kind: ModelKind,
        shape: Option<&[u64]>,
        batch: u32,
        part: Part,
    ) -> Result<Made, InputError> {
        let graph = OnnxSummary { inputs: ports, ..OnnxSummary::default() };
        let inputs = Inputs { graph: &graph, kind, tokenizer: None, shape, batch, length: 0 };
        make(&inputs, part)
    }

    #[test]
    fn inputs_of_usual_exports_get_their_shapes() {
        let text = vec![
            port("input_ids", "INT64", &[0, 0]),
            port("attention_mask", "INT64", &[0, 0]),
            port("token_type_ids", "INT64", &[0, 0]),
        ];
        let set = made(text, ModelKind::Embedding, None, 1, Part::Evaluation).unwrap();
        assert_eq!(set.samples.len(), 32);
        assert_eq!(set.samples[0][0].shape, [1, 128]);
        assert_eq!(set.notes.len(), 1, "no tokenizer is said");
        // The catalogue knows what the file leaves open.
        let line = vec![port("x", "FLOAT", &[0, 3, 0, 0])];
        let set = made(line, ModelKind::Vision, Some(&[1, 3, 48, 0]), 2, Part::Evaluation).unwrap();
        assert_eq!(set.samples[0][0].shape, [2, 3, 48, 320]);
        let voice = vec![
            port("input", "FLOAT", &[0, 0]),
            port("state", "FLOAT", &[2, 0, 128]),
            port("sr", "INT64", &[]),
        ];
        let set = made(voice, ModelKind::Speech, Some(&[1, 576]), 1, Part::Calibration).unwrap();
        let shapes: Vec<_> = set.samples[0].iter().map(|t| t.shape.clone()).collect();
        assert_eq!(shapes, [vec![1, 576], vec![2, 1, 128], vec![]]);
        let photo = vec![port("image", "UINT8", &[1, 0, 0, 3])];
        let set = made(photo, ModelKind::Vision, None, 1, Part::Evaluation).unwrap();
        assert_eq!(set.samples[0][0].shape, [1, 224, 224, 3]);
    }

    #[test]
    fn samples_differ_have_structure_and_are_the_same_every_time() {
        let picture = || vec![port("x", "FLOAT", &[1, 3, 64, 64])];
        let a = made(picture(), ModelKind::Vision, None, 1, Part::Evaluation).unwrap().samples;
        let b = made(picture(), ModelKind::Vision, None, 1, Part::Evaluation).unwrap().samples;
        let c = made(picture(), ModelKind::Vision, None, 1, Part::Calibration).unwrap().samples;
        assert_eq!(a, b);
        assert!(a[0] != a[1] && !c.contains(&a[0]));
        // Neighbouring pixels are alike, unlike those of noise.
        let x = a[0][0].floats().unwrap();
        let (near, far): (Vec<f32>, Vec<f32>) = (0..4000)
            .map(|i| ((x[i] - x[i + 1]).abs(), (x[i] - x[(i * 37 + 2011) % 4096]).abs()))
            .unzip();
        assert!(near.iter().sum::<f32>() * 2.0 < far.iter().sum::<f32>());
        let sound = vec![port("input", "FLOAT", &[1, 1600])];
        let set = made(sound, ModelKind::Speech, None, 1, Part::Evaluation).unwrap().samples;
        let power = |i: usize| set[i][0].floats().unwrap().iter().map(|v| v * v).sum::<f32>();
        assert!(
            power(0) > 100.0 * power(3),
            "talk {} is louder than a pause {}",
            power(0),
            power(3)
        );
    }

    #[test]
    fn what_cannot_be_filled_is_named() {
        let odd = vec![port("query", "DOUBLE", &[0, 5])];
        let error =
            made(odd, ModelKind::Vision, None, 1, Part::Evaluation).unwrap_err().to_string();
        assert!(error.contains("`query` (DOUBLE, 2 axes)"), "{error}");
        let fixed = vec![port("x", "FLOAT", &[1, 3, 8, 8])];
        let error =
            made(fixed, ModelKind::Vision, None, 4, Part::Evaluation).unwrap_err().to_string();
        assert!(error.contains("batches of 1 only"), "{error}");
        let huge = vec![port("x", "FLOAT", &[1, 3, 1 << 40, 1 << 40])];
        assert!(made(huge, ModelKind::Vision, None, 1, Part::Evaluation).is_err());
    }
}
