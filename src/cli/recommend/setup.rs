//! Gathers what the engine looks at: device, model, state of the frameworks, evidence.

use std::path::{Path, PathBuf};

use super::super::{CliError, Output, calibrate};
use super::args::{DeviceArgs, RecommendArgs};
use crate::advise::{
    Evidence, FrameworkState, Frameworks, GgufFiles, Input, ModelSource, QualityTable, Request,
    Rules, States,
};
use crate::backend::{self, Availability};
use crate::catalog::{self, Catalog, Entry};
use crate::formats;
use crate::model::{Device, Fact, ModelSpec, Source};
use crate::predict::{Calibration, Predictor};
use crate::probe::{self, ProbeOptions, RecordedHost};
use crate::profile::{self, Library, Match, Overrides, did_you_mean};

/// A model to advise for, and where it comes from.
pub struct Model {
    pub spec: ModelSpec,
    pub source: ModelSource,
    pub title: String,
}

pub struct Setup {
    pub device: Device,
    /// True for this machine.
    pub live: bool,
    pub profile: Option<Match>,
    pub model: Option<Model>,
    pub catalog: Catalog,
    request: Request,
    states: States,
    evidence: Evidence,
    predictor: Predictor,
}

impl Setup {
    pub fn input<'a>(&'a self, model: &'a ModelSpec, source: &'a ModelSource) -> Input<'a> {
        Input {
            device: &self.device,
            device_is_here: self.live,
            model,
            source,
            request: &self.request,
            frameworks: Frameworks::embedded(),
            rules: Rules::embedded(),
            states: &self.states,
            quality: QualityTable::embedded(),
            evidence: &self.evidence,
            predictor: &self.predictor,
        }
    }
}

/// Reads everything `recommend` needs.
pub fn setup(args: &RecommendArgs, output: &Output) -> Result<Setup, CliError> {
    let catalog = Catalog::load().map_err(|e| CliError::setup(e.to_string()).hint(e.hint()))?;
    let (mut device, live, profile) = device(&args.device, output)?;
    let request = args.request();
    if let Some(os) = request.platform.as_deref().filter(|p| *p != "cross") {
        device.os = os.to_owned();
    }
    check_framework(&request)?;
    let model = model(args, &catalog)?;
    let records = if live { super::records_in(&args.evidence) } else { Vec::new() };
    let evidence = Evidence::from_records(&records, &device.id);
    let mut calibration = calibrate::stored(&device.id);
    calibration.merge(Calibration::from_records(&records, &device.id, calibrate::shape_of));
    calibration.device.clone_from(&device.id);
    let states = if live { states() } else { States::default() };
    Ok(Setup {
        device,
        live,
        profile,
        model,
        catalog,
        request,
        states,
        evidence,
        predictor: Predictor::embedded().with_evidence(calibration),
    })
}

fn check_framework(request: &Request) -> Result<(), CliError> {
    let Some(id) = &request.framework else { return Ok(()) };
    let known = Frameworks::embedded();
    if known.get(id).is_some() {
        return Ok(());
    }
    let ids: Vec<&str> = known.list.iter().map(|f| f.id.as_str()).collect();
    let all = format!("one of {}", ids.join(", "));
    Err(CliError::usage(format!("unknown framework `{id}`")).hint(did_you_mean(
        id,
        ids.iter().copied(),
        &all,
    )))
}

/// The device: this machine, a recorded host, or a profile.
pub fn device(
    args: &DeviceArgs,
    output: &Output,
) -> Result<(Device, bool, Option<Match>), CliError> {
    let library = Library::new(args.profiles.as_deref());
    if let Some(id) = &args.profile {
        let overrides = Overrides { ram_gib: args.ram, bandwidth_gbs: args.bandwidth, os: None };
        return Ok((library.load(id)?.device(&overrides), false, None));
    }
    let (report, live) = match &args.from {
        Some(path) => {
            let host = RecordedHost::load(path).map_err(CliError::from_error)?;
            (probe::run(&host, ProbeOptions { use_cache: false }), false)
        }
        None => {
            let note = || output.note("measuring memory and arithmetic once, about a second ...");
            (probe::run_with_essentials(note), true)
        }
    };
    if let Some(load) = report.measured.as_ref().filter(|m| !m.quiet()).and_then(|m| m.foreign_cpus)
    {
        output.note(format!(
            "note: other programs used {load:.1} CPUs while this machine was measured: speeds are predicted too low; \
             run again when it is quiet"
        ));
    }
    let mut device = report.device();
    let found = profile::identify(&mut device, &library)?;
    if let Some(b) = args.bandwidth {
        for p in device.processors.iter_mut().filter(|p| p.unified || p.memory_bytes.is_none()) {
            p.bandwidth_gbs = Some(Fact { value: b, source: Source::Override });
        }
    }
    if device.cpu_processor().is_some_and(|c| c.bandwidth_gbs.is_none()) {
        output.note("note: memory bandwidth is not measured yet; `edge-advisor probe --measure` does, and speeds appear");
    }
    Ok((device, live, found))
}

fn model(args: &RecommendArgs, catalog: &Catalog) -> Result<Option<Model>, CliError> {
    if let Some(parameters) = args.params {
        return sized(parameters, &args.arch, catalog).map(Some);
    }
    let Some(name) = &args.model else { return Ok(None) };
    let path = Path::new(name);
    if path.extension().is_some_and(|e| e == "gguf") || path.is_file() {
        return from_file(path).map(Some);
    }
    let entry = catalog.get(name).map_err(|e| CliError::setup(e.to_string()).hint(e.hint()))?;
    let source = match catalog::resolve_model(name) {
        Ok(here) if here.path.extension().is_some_and(|e| e == "gguf") && entry.hub.is_empty() => {
            ModelSource::File { path: here.path }
        }
        _ => hub_source(entry),
    };
    Ok(Some(Model { spec: named(entry), source, title: entry.title.clone() }))
}

/// The shape under the catalogue's name: what commands and records call it.
pub fn named(entry: &Entry) -> ModelSpec {
    ModelSpec { name: entry.name.clone(), ..catalog::build(entry) }
}

fn from_file(path: &Path) -> Result<Model, CliError> {
    let error = |e: crate::formats::FormatError| {
        CliError::from_error(e)
            .hint("give a GGUF or ONNX file, or a name from `edge-advisor models list`")
    };
    let mut spec = formats::inspect(path).map_err(error)?.spec;
    let mut title = std::mem::take(&mut spec.name);
    // Records call a file by its stem, or by the catalogue's name where it was pulled.
    spec.name = match catalog::resolve_model(&path.to_string_lossy()) {
        Ok(known) => known.name,
        Err(_) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    };
    spec.name.retain(|c| !c.is_control());
    if title.is_empty() {
        title.clone_from(&spec.name);
    }
    Ok(Model { spec, source: ModelSource::File { path: PathBuf::from(path) }, title })
}

/// Where a catalogue model comes from.
pub fn hub_source(entry: &Entry) -> ModelSource {
    let files = entry.hub.iter().filter(|h| h.file.ends_with(".gguf"));
    let gguf: Vec<_> = files
        .map(|h| GgufFiles { repository: h.repository.clone(), precisions: h.precisions.clone() })
        .collect();
    let original = entry.original().map(str::to_owned);
    match original.is_none() && gguf.is_empty() {
        true => ModelSource::None,
        false => ModelSource::Hub { original, gguf },
    }
}

/// A model known by size and architecture: the shape of the nearest catalogue model, its width and depth scaled.
fn sized(parameters: u64, arch: &str, catalog: &Catalog) -> Result<Model, CliError> {
    let shaped = catalog.entries().iter().filter_map(|e| Some((e, e.shape.as_ref()?)));
    let same: Vec<_> = shaped.filter(|(_, s)| s.architecture == arch).collect();
    let distance = |e: &Entry| (e.parameters as f64 / parameters as f64).ln().abs();
    let Some((entry, _)) = same.into_iter().min_by(|a, b| distance(a.0).total_cmp(&distance(b.0)))
    else {
        let mut known: Vec<&str> = catalog
            .entries()
            .iter()
            .filter_map(|e| e.shape.as_ref().map(|s| s.architecture.as_str()))
            .collect();
        known.sort_unstable();
        known.dedup();
        let all = format!("one of {}", known.join(", "));
        return Err(CliError::usage(format!("unknown architecture `{arch}`")).hint(did_you_mean(
            arch,
            known.iter().copied(),
            &all,
        )));
    };
    let mut scaled = entry.clone();
    let ratio = parameters as f64 / entry.parameters as f64;
    if let Some(s) = &mut scaled.shape {
        let head = s.head_width().max(1);
        let depth = ratio.powf(0.25);
        let width = ratio.powf(0.375);
        let times = |n: u32, f: f64| ((f64::from(n) * f).round() as u32).max(1);
        s.head_dim = head;
        s.layers = times(s.layers, depth);
        let groups = (s.heads / s.kv_heads.max(1)).max(1);
        s.kv_heads = times(s.kv_heads, width);
        s.heads = s.kv_heads * groups;
        s.hidden = times(s.hidden, width).next_multiple_of(64);
        s.ffn = times(s.ffn, width).next_multiple_of(64);
        s.expert_ffn =
            if s.expert_ffn > 0 { times(s.expert_ffn, width).next_multiple_of(32) } else { 0 };
        s.attention_layers.retain(|l| *l < s.layers);
    }
    let mut spec = catalog::build(&scaled);
    let billions = parameters as f64 / 1e9;
    spec.name = if billions >= 1.0 {
        format!("{arch}-{billions:.1}b").replace(".0b", "b")
    } else {
        format!("{arch}-{:.0}m", billions * 1000.0)
    };
    let title = format!(
        "a {arch} model of {:.1} B parameters (shape scaled from {})",
        spec.parameters as f64 / 1e9,
        entry.name
    );
    Ok(Model { spec, source: ModelSource::None, title })
}

/// State of every backend on this machine; cheap, loads no native code.
fn states() -> States {
    let mut states = States::default();
    for b in backend::all() {
        let info = b.info();
        let state = match b.availability() {
            Availability::Ready { version } => FrameworkState::Ready { version },
            Availability::NotInstalled { hint } => FrameworkState::NotInstalled { hint },
            Availability::NotCompiled { feature } => FrameworkState::NotInstalled {
                hint: format!("build edge-advisor with --features {feature}"),
            },
            Availability::Unsupported { reason } => FrameworkState::Unsupported { reason },
        };
        states.by_id.insert(info.id.to_owned(), state);
        states.precisions.insert(info.id.to_owned(), info.precisions.to_vec());
    }
    states
}
