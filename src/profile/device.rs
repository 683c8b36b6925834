//! A profile as a [`Device`], every figure tagged with its source.

use serde::Deserialize;

use super::schema::{CpuProfile, ProcessorProfile, Profile};
use crate::model::{
    ComputeApi, CpuFacts, Device, DeviceProblem, Fact, Isa, Limits, Processor, ProcessorKind,
    Source,
};

const GIB: f64 = (1u64 << 30) as f64;

/// What the user knows better than the profile.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    pub ram_gib: Option<f64>,
    pub bandwidth_gbs: Option<f64>,
    pub os: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Assumptions {
    host: AssumedHost,
    usable_memory: UsableMemory,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AssumedHost {
    arch: String,
    name: String,
    performance_cores: u32,
    efficiency_cores: u32,
    isa: Vec<Isa>,
    memory_gb: f64,
    bandwidth_gbs: f64,
    source: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UsableMemory {
    android: f64,
    ios: f64,
    macos: f64,
    windows: f64,
    linux: f64,
    #[expect(dead_code, reason = "for readers of the file")]
    source: String,
}

fn assumptions() -> &'static Assumptions {
    static PARSED: std::sync::OnceLock<Assumptions> = std::sync::OnceLock::new();
    PARSED.get_or_init(|| {
        toml::from_str(include_str!("../../profiles/assumptions.toml"))
            .expect("the embedded file is checked by a test")
    })
}

impl Profile {
    /// The device as the advisor sees it. Where memory comes in several sizes and none is given, the middle one is taken and said so.
    pub fn device(&self, overrides: &Overrides) -> Device {
        let a = assumptions();
        let os = overrides.os.clone().unwrap_or_else(|| self.os[0].clone());
        let card = self.cpu.is_none();
        let discrete = self.processors.iter().any(|p| p.kind == ProcessorKind::DiscreteGpu);
        let mut problems = Vec::new();
        let ram_gib = overrides.ram_gib.unwrap_or_else(|| self.assumed_ram(&mut problems));
        let bandwidth = self.bandwidth(overrides);
        let mut processors = Vec::new();
        let cpu = match &self.cpu {
            Some(cpu) => {
                processors.push(self.cpu_processor(cpu, bandwidth.clone()));
                cpu_facts(cpu)
            }
            None => {
                if discrete {
                    processors.push(assumed_cpu(&a.host, overrides));
                    problems.push(DeviceProblem {
                        what: format!("the host of this card is not known: {ram_gib:.0} GB of memory and {:.0} GB/s assumed", a.host.bandwidth_gbs),
                        hint: "give --ram and --bandwidth of the host".to_owned(),
                    });
                }
                CpuFacts {
                    arch: a.host.arch.clone(),
                    performance_cores: a.host.performance_cores,
                    efficiency_cores: a.host.efficiency_cores,
                    threads: a.host.performance_cores + a.host.efficiency_cores,
                    isa: a.host.isa.clone(),
                    ..CpuFacts::default()
                }
            }
        };
        let mut count = [0u32; 2];
        for p in &self.processors {
            let npu = usize::from(p.kind == ProcessorKind::Npu);
            let id = format!("{}{}", ["gpu", "npu"][npu], count[npu]);
            count[npu] += 1;
            processors.push(self.processor(p, id, if card { None } else { bandwidth.clone() }));
        }
        let memory_bytes = (ram_gib * GIB) as u64;
        let usable = (ram_gib * GIB * a.usable_memory.share(&os)) as u64;
        Device {
            id: self.id.clone(),
            name: self.name.clone(),
            class: self.class,
            os,
            limits: Limits {
                memory_bytes,
                memory_available_bytes: usable,
                cpus: f64::from(cpu.threads),
                disk_free_bytes: None,
                disk_read_gbs: None,
                on_battery: None,
            },
            cpu,
            processors,
            problems,
        }
    }

    fn assumed_ram(&self, problems: &mut Vec<DeviceProblem>) -> f64 {
        let options = &self.memory.options_gb;
        if options.is_empty() {
            let gb = assumptions().host.memory_gb;
            let gb = if self.cpu.is_some() { gb.min(8.0) } else { gb };
            if self.cpu.is_some() {
                problems.push(DeviceProblem {
                    what: format!("its memory size is not published: {gb:.0} GB assumed"),
                    hint: "give --ram".to_owned(),
                });
            }
            return gb;
        }
        let gb = options[(options.len() - 1) / 2];
        if options.len() > 1 {
            let list: Vec<String> = options.iter().map(|g| format!("{g:.0}")).collect();
            problems.push(DeviceProblem {
                what: format!("sold with {} GB of memory: {gb:.0} GB assumed", list.join(", ")),
                hint: "give --ram".to_owned(),
            });
        }
        gb
    }

    fn source(&self, field: &str) -> Source {
        if self.unverified.iter().any(|f| f == field) {
            Source::Inferred { rule: format!("profile {}, unverified", self.id) }
        } else if self.derived.iter().any(|f| f == field) {
            Source::Inferred {
                rule: format!("arithmetic on published figures, profile {}", self.id),
            }
        } else {
            Source::Published { from: format!("profile {}: {}", self.id, self.source) }
        }
    }

    fn bandwidth(&self, overrides: &Overrides) -> Option<Fact<f64>> {
        match overrides.bandwidth_gbs {
            Some(value) => Some(Fact { value, source: Source::Override }),
            None => self
                .memory
                .bandwidth_gbs
                .map(|value| Fact { value, source: self.source("memory.bandwidth_gbs") }),
        }
    }

    fn cpu_processor(&self, cpu: &CpuProfile, bandwidth: Option<Fact<f64>>) -> Processor {
        let name = if cpu.name.is_empty() { &self.name } else { &cpu.name };
        let fp32_tflops =
            cpu.fp32_tflops.map(|value| Fact { value, source: self.source("cpu.fp32_tflops") });
        let power_w = self.tdp_w.map(|value| Fact { value, source: self.source("tdp_w") });
        Processor {
            bandwidth_gbs: bandwidth,
            fp32_tflops,
            power_w,
            profile: self.id.clone(),
            ..blank_cpu(name, &self.vendor)
        }
    }

    fn processor(&self, p: &ProcessorProfile, id: String, shared: Option<Fact<f64>>) -> Processor {
        let fact = |value: Option<f64>, field: &str| {
            value.map(|value| Fact { value, source: self.source(field) })
        };
        let unified = p.memory_gb.is_none() && p.kind != ProcessorKind::DiscreteGpu;
        let own = fact(p.bandwidth_gbs, "gpu.bandwidth_gbs");
        let given = shared.as_ref().is_some_and(|s| s.source == Source::Override);
        Processor {
            id,
            kind: p.kind,
            vendor: p.vendor.clone(),
            name: p.name.clone(),
            architecture: p.architecture.clone(),
            apis: p.apis.clone(),
            memory_bytes: p
                .memory_gb
                .map(|g| Fact { value: (g * GIB) as u64, source: self.source("gpu.memory_gb") }),
            memory_free_bytes: None,
            unified,
            bandwidth_gbs: if given && unified {
                shared
            } else {
                own.or(shared.filter(|_| unified))
            },
            fp32_tflops: fact(p.fp32_tflops, "gpu.fp32_tflops"),
            fp16_tflops: fact(p.fp16_tflops, "gpu.fp16_tflops"),
            int8_tops: fact(p.int8_tops, "npu.int8_tops"),
            profile: self.id.clone(),
            // A device's own figure covers whichever part works.
            power_w: fact(p.tdp_w, "gpu.tdp_w").or_else(|| fact(self.tdp_w, "tdp_w")),
        }
    }
}

impl UsableMemory {
    fn share(&self, os: &str) -> f64 {
        match os {
            "android" => self.android,
            "ios" => self.ios,
            "macos" => self.macos,
            "windows" => self.windows,
            _ => self.linux,
        }
    }
}

fn assumed_cpu(host: &AssumedHost, overrides: &Overrides) -> Processor {
    let bandwidth = match overrides.bandwidth_gbs {
        Some(value) => Fact { value, source: Source::Override },
        None => Fact::inferred(host.bandwidth_gbs, host.source.clone()),
    };
    Processor { bandwidth_gbs: Some(bandwidth), ..blank_cpu(&host.name, "") }
}

fn blank_cpu(name: &str, vendor: &str) -> Processor {
    Processor {
        id: "cpu".to_owned(),
        kind: ProcessorKind::Cpu,
        vendor: vendor.to_owned(),
        name: name.to_owned(),
        architecture: String::new(),
        apis: vec![ComputeApi::Cpu],
        memory_bytes: None,
        memory_free_bytes: None,
        unified: true,
        bandwidth_gbs: None,
        fp32_tflops: None,
        fp16_tflops: None,
        int8_tops: None,
        profile: String::new(),
        power_w: None,
    }
}

fn cpu_facts(cpu: &CpuProfile) -> CpuFacts {
    let cores = cpu.performance_cores + cpu.efficiency_cores;
    CpuFacts {
        arch: cpu.arch.clone(),
        performance_cores: cpu.performance_cores,
        efficiency_cores: cpu.efficiency_cores,
        threads: cores,
        isa: cpu.isa.clone(),
        max_clock_mhz: None,
        l3_bytes: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Library;

    fn device(id: &str, overrides: &Overrides) -> Device {
        Library::default().load(id).unwrap().device(overrides)
    }

    #[test]
    fn memory_is_assumed_openly_and_can_be_given() {
        let d = device("rpi-5", &Overrides::default());
        assert!(d.problems.iter().any(|p| p.what.contains("assumed")), "{:?}", d.problems);
        let d = device("rpi-5", &Overrides { ram_gib: Some(16.0), ..Overrides::default() });
        assert_eq!(d.limits.memory_bytes, 16 << 30);
        assert!(d.problems.is_empty());
    }

    #[test]
    fn a_card_gets_an_assumed_host_that_says_so_and_its_own_memory() {
        let d = device("rtx-4090", &Overrides::default());
        let cpu = d.cpu_processor().unwrap();
        assert!(matches!(cpu.bandwidth_gbs.as_ref().unwrap().source, Source::Inferred { .. }));
        assert_eq!(d.processors[1].memory_bytes.as_ref().unwrap().value, 24 << 30);
        assert!(!d.processors[1].unified);
    }

    #[test]
    fn unverified_and_derived_cells_do_not_look_published() {
        let d = device("intel-n100", &Overrides::default());
        let bandwidth = d.cpu_processor().unwrap().bandwidth_gbs.clone().unwrap();
        assert!(matches!(bandwidth.source, Source::Inferred { .. }), "{bandwidth:?}");
    }
}
