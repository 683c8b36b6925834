//! From a variant's file to a compiled model: checked first by our own readers, properties set and read back.

use std::path::Path;

use openvino::{CompiledModel, Core, DeviceType, ElementType, Model, PropertyKey, RwPropertyKey};
use openvino::{Shape, Tensor};

use super::library::{core, device_name, devices, failed, property, version};
use super::options::Options;
use crate::backend::{BackendError, OpenRequest};
use crate::formats::{FormatError, OpenVinoIr, onnx};
use crate::model::{Finding, FindingKind, Precision};
use crate::record::SessionFacts;

/// Properties that change results, as the compiled model reports them.
const RECORDED: &[&str] = &[
    "INFERENCE_PRECISION_HINT",
    "KV_CACHE_PRECISION",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE",
    "PERFORMANCE_HINT",
    "NUM_STREAMS",
    "INFERENCE_NUM_THREADS",
    "ENABLE_CPU_PINNING",
    "EXECUTION_MODE_HINT",
];

/// A compiled model and what is known of it. The core outlives it.
pub(super) struct Compiled {
    pub model: CompiledModel,
    pub facts: SessionFacts,
    _core: Core,
}

/// What our own readers found in the file.
struct Checked {
    layers: u64,
    weight_bytes: u64,
}

/// Reads and compiles the variant; `shape` may fix the model's inputs in between.
pub(super) fn compile(
    request: &OpenRequest,
    text: bool,
    shape: &dyn Fn(&mut Model) -> Result<(), BackendError>,
) -> Result<Compiled, BackendError> {
    let options = Options::parse(&request.options)?;
    let path = &request.variant.path;
    let checked =
        check(path).map_err(|e| BackendError::Unsupported(format!("{e} (hint: {})", e.hint())))?;
    let mut core = core()?;
    let device = device_name(&request.device);
    let supported = supported_properties(&core, &request.device, &device)?;
    let weights = request.variant.precision;
    let wanted = options.compute(weights);
    let hint = "INFERENCE_PRECISION_HINT";
    let compute = wanted.map(str::to_owned).or_else(|| property(&core, &device, hint));
    let mut properties = options.properties(request.threads, text);
    properties.extend(compute.map(|c| (hint, c, options.precision.is_some())));
    for (key, value, must) in properties {
        let known = supported.iter().any(|s| s == key);
        if !known && must {
            let why = format!("OpenVINO's {device} has no property {key}");
            return Err(BackendError::Unsupported(why));
        }
        if known {
            let other = RwPropertyKey::Other(key.into());
            core.set_property(&DeviceType::from(device.as_str()), &other, &value)
                .map_err(|e| failed(&format!("{device} refuses {key}={value}"), &e))?;
        }
    }
    let name = path.to_str().ok_or_else(|| {
        BackendError::Unsupported(format!("the path `{}` is not UTF-8", path.display()))
    })?;
    // With an empty name the weights are looked for beside the graph.
    let mut model = core
        .read_model_from_file(name, "")
        .map_err(|e| failed(&format!("cannot read `{}`", path.display()), &e))?;
    shape(&mut model)?;
    let compiled = core
        .compile_model(&model, DeviceType::from(device.as_str()))
        .map_err(|e| failed(&format!("cannot compile for {device}"), &e))?;
    let mut facts = SessionFacts {
        version: version()?.to_owned(),
        kernel: property(&core, &device, "OPTIMIZATION_CAPABILITIES").unwrap_or_default(),
        path: "library".to_owned(),
        weight_bytes: Some(checked.weight_bytes),
        ..SessionFacts::default()
    };
    let ask = |key: &'static str| {
        compiled.get_property(&PropertyKey::Other(key.into())).ok().map(|v| v.trim().to_owned())
    };
    for key in RECORDED {
        facts.settings.extend(ask(key).map(|v| ((*key).to_owned(), v)));
    }
    let runs_on = ask("EXECUTION_DEVICES").unwrap_or_else(|| device.clone());
    for device in runs_on.split([' ', ',']).filter(|d| !d.is_empty()) {
        let id = if device == "CPU" { "cpu" } else { device };
        facts.placement.insert(id.to_owned(), checked.layers);
    }
    check_compute(&mut facts, wanted, options.precision.is_some(), weights, &device)?;
    Ok(Compiled { model: compiled, facts, _core: core })
}

/// OpenVINO replaces a precision that the device cannot compute in without a word: said here.
fn check_compute(
    facts: &mut SessionFacts,
    wanted: Option<&str>,
    asked: bool,
    weights: Precision,
    device: &str,
) -> Result<(), BackendError> {
    let (Some(wanted), Some(used)) = (wanted, facts.settings.get("INFERENCE_PRECISION_HINT"))
    else {
        return Ok(());
    };
    if used == wanted {
        return Ok(());
    }
    let can = &facts.kernel;
    let text = format!("{device} computes in {used}, not in {wanted}: it can do {can}");
    // The same numbers as another row under this name would be a false row.
    if asked || weights == Precision::BF16 {
        return Err(BackendError::Unsupported(text));
    }
    facts.findings.push(Finding::note(FindingKind::Note, text));
    Ok(())
}

/// Looks at a file with our own bounded readers before the library gets it.
fn check(path: &Path) -> Result<Checked, FormatError> {
    if let Some(xml) = OpenVinoIr::at(path) {
        let ir = OpenVinoIr::open(&xml)?;
        return Ok(Checked { layers: ir.layers, weight_bytes: ir.constant_bytes() });
    }
    let onnx = onnx::read(path)?;
    let weight_bytes = onnx.tensors.iter().map(|t| t.bytes).fold(0, u64::saturating_add);
    Ok(Checked { layers: onnx.nodes, weight_bytes })
}

/// The properties of a device, or why there is no such device.
fn supported_properties(
    core: &Core,
    wanted: &str,
    device: &str,
) -> Result<Vec<String>, BackendError> {
    let all = devices()?;
    // `AUTO:GPU,CPU` and `HETERO:NPU,CPU` are names too.
    let known = device.contains(':')
        || all.iter().any(|d| {
            let id = d.id.to_ascii_uppercase();
            id == device || id.strip_prefix(device).is_some_and(|rest| rest.starts_with('.'))
        });
    let problem = all.iter().find(|d| d.id.eq_ignore_ascii_case(device)).map(|d| &d.problem);
    match problem.filter(|p| !p.is_empty()) {
        Some(why) => return Err(BackendError::Unsupported(format!("no {device} here: {why}"))),
        None if !known => {
            let ids: Vec<_> = all.iter().map(|d| d.id.as_str()).collect();
            let text = format!("OpenVINO has no device `{wanted}`; it lists {}", ids.join(", "));
            return Err(BackendError::Unsupported(text));
        }
        None => {}
    }
    let text = property(core, device, "SUPPORTED_PROPERTIES").unwrap_or_default();
    Ok(text.split([' ', ',']).filter(|k| !k.is_empty()).map(str::to_owned).collect())
}

/// A tensor with these values. `T` must be the element type's own width.
pub(super) fn tensor<T: Copy>(
    element: ElementType,
    shape: &[i64],
    values: &[T],
) -> Result<Tensor, BackendError> {
    let made = Shape::new(shape).and_then(|s| Tensor::new(element, &s));
    let mut tensor = made.map_err(|e| failed("cannot make an input", &e))?;
    let data = tensor.get_data_mut::<T>().map_err(|e| failed("cannot fill an input", &e))?;
    if data.len() != values.len() {
        let text = format!("an input of {} values got {}", data.len(), values.len());
        return Err(BackendError::Failed(text));
    }
    data.copy_from_slice(values);
    Ok(tensor)
}
