//! One prediction: microseconds, so that a whole catalogue stays interactive.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use edge_advisor::catalog::{self, Catalog};
use edge_advisor::model::{
    ComputeApi, CpuFacts, Device, DeviceClass, Fact, Limits, Precision, Processor, ProcessorKind,
};
use edge_advisor::predict::{KvPrecision, Predictor, Query};

fn device() -> Device {
    let cpu = Processor {
        id: "cpu".to_owned(),
        kind: ProcessorKind::Cpu,
        vendor: "AMD".to_owned(),
        name: "bench".to_owned(),
        architecture: String::new(),
        apis: vec![ComputeApi::Cpu],
        memory_bytes: None,
        memory_free_bytes: None,
        unified: true,
        bandwidth_gbs: Some(Fact::published(83.2, "bench")),
        fp32_tflops: None,
        fp16_tflops: None,
        int8_tops: None,
        profile: String::new(),
        power_w: None,
    };
    Device {
        id: "bench".to_owned(),
        name: "bench".to_owned(),
        class: DeviceClass::Desktop,
        os: "linux".to_owned(),
        cpu: CpuFacts { performance_cores: 16, ..CpuFacts::default() },
        limits: Limits::default(),
        processors: vec![cpu],
        problems: Vec::new(),
    }
}

fn predict(c: &mut Criterion) {
    let catalog = Catalog::load().expect("catalogue");
    let model = catalog::build(&catalog.entries()[0]);
    let device = device();
    let predictor = Predictor::embedded();
    let query = Query {
        device: &device,
        processor: &device.processors[0],
        api: ComputeApi::Cpu,
        framework: "llama.cpp",
        model: &model,
        precision: Precision::Q4_K_M,
        context: 8192,
        prompt: 512,
        threads: Some(16),
        kv_precision: KvPrecision::F16,
        gpu_layers: None,
    };
    c.bench_function("predict one candidate", |b| b.iter(|| predictor.predict(black_box(&query))));
}

criterion_group!(benches, predict);
criterion_main!(benches);
