//! The compact view of a report that prediction, advice and records use.

use super::capability::{AcceleratorPoint, Measured, Rate};
use super::report::{CoreKind, Gpu, GpuKind, Npu, ProbeReport};
use super::{apis, parse};
use crate::model::{
    ComputeApi, CpuFacts, Device, DeviceClass, Fact, Limits, Processor, ProcessorKind,
};

impl ProbeReport {
    /// What the process may use of this host, by processor.
    pub fn device(&self) -> Device {
        let mut processors = vec![self.cpu_processor()];
        processors.extend(self.gpus.iter().enumerate().map(|(i, g)| self.gpu_processor(i, g)));
        processors.extend(self.npus.iter().enumerate().map(|(i, n)| npu_processor(i, n)));
        Device {
            id: self.fingerprint.clone(),
            name: self.name(),
            class: self.system.class.as_ref().map_or(DeviceClass::Desktop, |f| f.value),
            os: self.system.os.clone(),
            cpu: self.cpu_facts(),
            limits: self.limits(),
            processors,
            problems: self.problems.clone(),
        }
    }

    fn name(&self) -> String {
        let cpu = self.cpu.model.as_ref().map(|f| f.value.clone());
        let machine = self.system.machine.as_ref().map(|f| f.value.clone());
        machine.or(cpu).unwrap_or_else(|| format!("{} device", self.system.arch))
    }

    fn allowed_list(&self) -> Option<Vec<u32>> {
        parse::cpu_list(&self.allowed.cpu_list.as_ref()?.value)
    }

    fn cpu_facts(&self) -> CpuFacts {
        let allowed = self.allowed_list();
        let usable = |cpus: &str, cores: u32| match (&allowed, parse::cpu_list(cpus)) {
            (Some(allowed), Some(group)) if !group.is_empty() => {
                let here = group.iter().filter(|c| allowed.contains(c)).count() as u32;
                here.min(cores)
            }
            _ => cores,
        };
        let sum = |kind: CoreKind| {
            let groups = self.cpu.groups.iter().filter(|g| g.kind == kind);
            groups.map(|g| usable(&g.cpus, g.cores)).sum::<u32>()
        };
        let l3 = self.cpu.caches.iter().filter(|c| c.level == 3);
        let l3 = l3
            .map(|c| c.bytes.saturating_mul(u64::from(c.instances)))
            .reduce(|a, b| a.saturating_add(b));
        CpuFacts {
            arch: self.system.arch.clone(),
            performance_cores: sum(CoreKind::Performance),
            efficiency_cores: sum(CoreKind::Efficiency),
            threads: self.allowed.threads,
            isa: self.cpu.isa.as_ref().map_or_else(Vec::new, |f| f.value.clone()),
            max_clock_mhz: self.cpu.max_mhz.as_ref().map(|f| f.value),
            l3_bytes: l3,
        }
    }

    fn limits(&self) -> Limits {
        let value = |f: &super::report::Known<u64>| f.as_ref().map(|f| f.value);
        Limits {
            memory_bytes: value(&self.allowed.memory_bytes).unwrap_or(0),
            memory_available_bytes: value(&self.allowed.memory_available_bytes).unwrap_or(0),
            cpus: self.allowed.cpus.as_ref().map_or(1.0, |f| f.value),
            disk_free_bytes: value(&self.allowed.disk_free_bytes),
            disk_read_gbs: self
                .measured
                .as_ref()
                .and_then(|m| Some(Fact::measured(m.disk_gbs.as_ref()?.best))),
            on_battery: self.power.on_battery.as_ref().map(|f| f.value),
        }
    }

    fn cpu_processor(&self) -> Processor {
        let fact = |value: f64| match &self.measured {
            Some(m) if !m.quiet() => {
                Fact::inferred(value, "measured beside other programs: at least this")
            }
            _ => Fact::measured(value),
        };
        let rate = |kind: &str| self.measured.as_ref()?.tera(kind).map(|p| fact(p.tera.best));
        let measured = self.measured.as_ref().and_then(Measured::best_ram_gbs);
        Processor {
            id: "cpu".into(),
            kind: ProcessorKind::Cpu,
            vendor: self.cpu.vendor.as_ref().map_or_else(String::new, |f| f.value.clone()),
            name: self
                .cpu
                .model
                .as_ref()
                .map_or_else(|| self.system.arch.clone(), |f| f.value.clone()),
            architecture: self
                .cpu
                .microarchitecture
                .as_ref()
                .map_or_else(String::new, |f| f.value.clone()),
            apis: vec![ComputeApi::Cpu],
            memory_bytes: None,
            memory_free_bytes: None,
            unified: true,
            bandwidth_gbs: measured.map(fact).or_else(|| self.memory.peak_gbs.clone()),
            fp32_tflops: rate("f32"),
            fp16_tflops: rate("f16").or_else(|| rate("bf16_dot")),
            int8_tops: rate("int8_dot"),
            profile: String::new(),
            power_w: None,
        }
    }

    /// A framework's device is this GPU: the only one there is, or one of its name.
    fn is(&self, point: &AcceleratorPoint, gpu: &Gpu) -> bool {
        let (a, b) = (point.name.to_ascii_lowercase(), gpu.name.value.to_ascii_lowercase());
        self.gpus.len() == 1 || (!b.is_empty() && a.contains(&b))
    }

    fn gpu_processor(&self, index: usize, gpu: &Gpu) -> Processor {
        let mut apis: Vec<ComputeApi> = gpu.apis.clone();
        for api in [ComputeApi::Vulkan, ComputeApi::OpenCl] {
            if !apis.contains(&api) && apis::usable(&self.apis, api) {
                apis.push(api);
            }
        }
        // Published rates first: predictions are fitted against them, and a framework reaches less.
        let reached = |rate: fn(&AcceleratorPoint) -> Option<&Rate>| {
            let all = self.measured.iter().flat_map(|m| &m.accelerators);
            let here = all.filter(|p| p.kind != ProcessorKind::Npu && self.is(p, gpu));
            here.filter_map(|p| Some(rate(p)?.best)).max_by(f64::total_cmp).map(Fact::measured)
        };
        Processor {
            id: format!("gpu{index}"),
            kind: match gpu.kind.value {
                GpuKind::Integrated => ProcessorKind::IntegratedGpu,
                GpuKind::Discrete | GpuKind::Virtual => ProcessorKind::DiscreteGpu,
            },
            vendor: gpu.vendor.clone(),
            name: gpu.name.value.clone(),
            architecture: gpu.architecture.as_ref().map_or_else(String::new, |f| f.value.clone()),
            apis,
            memory_bytes: gpu.memory_bytes.clone().filter(|_| !gpu.unified),
            memory_free_bytes: gpu.memory_free_bytes.clone().filter(|_| !gpu.unified),
            unified: gpu.unified,
            bandwidth_gbs: gpu.bandwidth_gbs.clone().or_else(|| reached(|p| p.read_gbs.as_ref())),
            fp32_tflops: gpu.fp32_tflops.clone(),
            fp16_tflops: gpu.fp16_tflops.clone().or_else(|| reached(|p| p.f16_tflops.as_ref())),
            int8_tops: None,
            profile: String::new(),
            power_w: gpu.power_limit_w.clone(),
        }
    }
}

fn npu_processor(index: usize, npu: &Npu) -> Processor {
    Processor {
        id: format!("npu{index}"),
        kind: ProcessorKind::Npu,
        vendor: npu.vendor.clone(),
        name: npu.name.value.clone(),
        architecture: npu.generation.clone(),
        apis: npu.apis.clone(),
        memory_bytes: None,
        memory_free_bytes: None,
        unified: true,
        bandwidth_gbs: None,
        fp32_tflops: None,
        fp16_tflops: None,
        int8_tops: npu.int8_tops.clone(),
        profile: String::new(),
        power_w: None,
    }
}
