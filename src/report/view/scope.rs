//! What is one column of a report: a run, or a device whose runs were merged.

use std::collections::BTreeMap;

use crate::model::{Device, Fact, Isa, Processor, ProcessorKind, Source};
use crate::record::RunRecord;
use crate::report::text;

use super::cases::cut_off;
use super::types::{BuildView, DeviceFact, DeviceView, ProtocolView, Roof, RunView};

/// How records are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// Each record is a column of its own.
    ByRun,
    /// Records with one fingerprint are one device; their process runs are pooled.
    ByDevice,
}

/// One column: its records, oldest first.
pub(crate) struct Scope<'a> {
    pub name: String,
    pub records: Vec<&'a RunRecord>,
}

/// Puts records into scopes in the order given; a run id seen before is left out and counted.
pub(crate) fn scopes<'a>(records: &'a [RunRecord], grouping: Grouping) -> (Vec<Scope<'a>>, usize) {
    let mut seen = std::collections::BTreeSet::new();
    let unique: Vec<&RunRecord> =
        records.iter().filter(|r| seen.insert(&r.header.run_id)).collect();
    let dropped = records.len() - unique.len();
    let mut scopes: Vec<Scope> = Vec::new();
    for record in unique {
        let same = |s: &&mut Scope| s.records[0].header.device.id == record.header.device.id;
        match scopes.iter_mut().find(same) {
            Some(scope) if grouping == Grouping::ByDevice => scope.records.push(record),
            _ => scopes.push(Scope { name: String::new(), records: vec![record] }),
        }
    }
    for scope in &mut scopes {
        scope.records.sort_by(|a, b| a.header.created.cmp(&b.header.created));
    }
    name_scopes(&mut scopes, grouping);
    (scopes, dropped)
}

/// The device's name where devices differ, else a label or the run id; numbered where still equal.
fn name_scopes(scopes: &mut [Scope], grouping: Grouping) {
    let devices: std::collections::BTreeSet<&str> =
        scopes.iter().map(|s| s.records[0].header.device.id.as_str()).collect();
    let by_device = grouping == Grouping::ByDevice || devices.len() == scopes.len();
    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    for scope in scopes {
        let header = &scope.records[0].header;
        let name = match header.labels.get("side").or_else(|| header.labels.get("name")) {
            Some(label) if !by_device => label,
            _ if by_device => &header.device.name,
            _ => &header.run_id,
        };
        let name = text::shorten(&text::plain(name), 48);
        let n = used.entry(name.clone()).or_insert(0);
        *n += 1;
        scope.name = if *n == 1 { name } else { format!("{name} ({n})") };
    }
}

impl<'a> Scope<'a> {
    fn newest(&self) -> &'a RunRecord {
        self.records[self.records.len() - 1]
    }

    pub(crate) fn device(&self) -> &'a Device {
        &self.newest().header.device
    }

    /// The processor a backend's device name stands for: `cpu`, else the accelerator with that number.
    pub(crate) fn processor_of(&self, device: &str) -> Option<&'a Processor> {
        let processors = &self.device().processors;
        if let Some(exact) = processors.iter().find(|p| p.id.eq_ignore_ascii_case(device)) {
            return Some(exact);
        }
        let lower = device.to_lowercase();
        let digits: String = lower.chars().filter(char::is_ascii_digit).collect();
        let number = digits.parse::<usize>().unwrap_or(0);
        let of = |kinds: &[ProcessorKind]| {
            processors.iter().filter(|p| kinds.contains(&p.kind)).nth(number)
        };
        if lower.contains("npu") || lower.contains("htp") {
            of(&[ProcessorKind::Npu])
        } else if lower.starts_with("cpu") {
            self.device().cpu_processor()
        } else {
            of(&[ProcessorKind::DiscreteGpu, ProcessorKind::IntegratedGpu])
        }
    }

    pub(crate) fn view(&self, outcomes: BTreeMap<String, usize>) -> RunView {
        let newest = self.newest();
        let header = &newest.header;
        let end = newest.end.as_ref();
        let p = &header.protocol;
        RunView {
            name: self.name.clone(),
            run_ids: self.records.iter().map(|r| text::plain(&r.header.run_id)).collect(),
            created: text::plain(&header.created),
            finished: end.map(|e| text::plain(&e.finished)),
            suite: text::plain(&header.suite),
            command: text::plain(&shell_line(&header.command)),
            seed: header.seed.to_string(),
            quick: self.records.iter().any(|r| r.header.quick),
            interrupted: self.records.iter().any(|r| r.end.as_ref().is_some_and(|e| e.interrupted)),
            cut_off: self.records.iter().any(|r| cut_off(r)),
            protocol: ProtocolView {
                warmup: [p.warmup_min, p.warmup_max],
                samples: [p.samples_min, p.samples_max],
                seconds: [p.seconds_min, p.seconds_max],
                deadline_s: p.deadline_s,
            },
            build: BuildView {
                version: text::plain(&header.build.version),
                profile: text::plain(&header.build.profile),
                target: text::plain(&header.build.target),
                compiled_isa: header.build.compiled_isa.iter().map(|s| text::plain(s)).collect(),
            },
            device: device_view(&header.device),
            labels: header.labels.iter().map(|(k, v)| (text::plain(k), text::plain(v))).collect(),
            noise: [end.and_then(|e| e.noise_before), end.and_then(|e| e.noise_after)],
            outcomes,
        }
    }
}

/// Words quoted so that a shell reads them back.
fn shell_line(words: &[String]) -> String {
    let safe = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    let quote = |w: &String| {
        if !w.is_empty() && w.chars().all(safe) {
            w.clone()
        } else {
            format!("'{}'", w.replace('\'', "'\\''"))
        }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

pub(crate) fn source_words(source: &Source) -> String {
    text::plain(&match source {
        Source::Measured => "measured".to_owned(),
        Source::Reported { by } => format!("reported by {by}"),
        Source::Inferred { rule } => format!("inferred: {rule}"),
        Source::Published { from } => format!("published: {from}"),
        Source::Override => "given by the user".to_owned(),
    })
}

fn device_view(device: &Device) -> DeviceView {
    let mut facts = Vec::new();
    let mut add = |label: &str, value: String, source: &str| {
        if !value.is_empty() {
            let value = text::plain(&value);
            facts.push(DeviceFact { label: label.into(), value, source: source.into() });
        }
    };
    let cpu = &device.cpu;
    let cores = match cpu.efficiency_cores {
        0 => text::count(cpu.performance_cores as usize, "core"),
        e => format!("{} performance + {e} efficiency cores", cpu.performance_cores),
    };
    let name = device.cpu_processor().map_or("", |p| p.name.as_str());
    let threads = text::count(cpu.threads as usize, "usable thread");
    add("CPU", format!("{name} ({}, {cores}, {threads})", cpu.arch), "");
    add("Instruction sets", isa_words(&cpu.isa), "");
    if let Some(l3) = cpu.l3_bytes {
        add("L3 cache", text::bytes(l3 as f64), "");
    }
    add("Memory it may use", text::bytes(device.limits.memory_bytes as f64), "");
    add("CPU time limit", format!("{} CPUs", text::significant(device.limits.cpus)), "");
    for p in &device.processors {
        processor_facts(p, &mut add);
    }
    add("Operating system", device.os.clone(), "");
    if let Some(on_battery) = device.limits.on_battery {
        add("Power", if on_battery { "battery" } else { "mains" }.into(), "");
    }
    DeviceView {
        id: text::plain(&device.id),
        name: text::plain(&device.name),
        facts,
        roofs: device.processors.iter().filter_map(roof).collect(),
        problems: device.problems.iter().map(|p| text::plain(&p.what)).collect(),
    }
}

fn processor_facts(p: &Processor, add: &mut impl FnMut(&str, String, &str)) {
    let title = match p.kind {
        ProcessorKind::Cpu => "CPU",
        ProcessorKind::IntegratedGpu | ProcessorKind::DiscreteGpu => "GPU",
        ProcessorKind::Npu => "NPU",
    };
    if p.kind != ProcessorKind::Cpu {
        add(title, format!("{} {}", p.vendor, p.name), "");
    }
    if let Some(f) = &p.memory_bytes {
        add(&format!("{title} memory"), text::bytes(f.value as f64), &source_words(&f.source));
    }
    let mut rate = |what: &str, unit: &str, fact: &Option<Fact<f64>>| {
        if let Some(f) = fact {
            let value = format!("{} {unit}", text::significant(f.value));
            add(&format!("{title} {what}"), value, &source_words(&f.source));
        }
    };
    rate("memory bandwidth", "GB/s", &p.bandwidth_gbs);
    rate("FP32", "TFLOP/s", &p.fp32_tflops);
    rate("FP16", "TFLOP/s", &p.fp16_tflops);
    rate("INT8", "TOP/s", &p.int8_tops);
}

fn roof(p: &Processor) -> Option<Roof> {
    let bandwidth = p.bandwidth_gbs.as_ref().filter(|f| f.value > 0.0)?;
    let peaks = [("fp32", &p.fp32_tflops), ("fp16", &p.fp16_tflops), ("int8", &p.int8_tops)];
    let mut peaks: Vec<(String, f64)> = peaks
        .into_iter()
        .filter_map(|(n, f)| Some((n.to_owned(), f.as_ref()?.value * 1e3)))
        .filter(|(_, v)| *v > 0.0)
        .collect();
    peaks.sort_by(|a, b| a.1.total_cmp(&b.1));
    Some(Roof {
        processor: text::plain(&p.id),
        bandwidth_gbs: bandwidth.value,
        peaks,
        source: source_words(&bandwidth.source),
    })
}

/// `avx2, fma, avx512_vnni`, as serde spells them.
fn isa_words(isa: &[Isa]) -> String {
    let name = |i: &Isa| serde_json::to_value(i).ok()?.as_str().map(str::to_owned);
    isa.iter().filter_map(name).collect::<Vec<_>>().join(", ")
}
