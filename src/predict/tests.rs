//! Known answers of the memory plan, sanity of the fitted parameters, hostile rows.

use super::*;
use crate::model::*;

fn gqa(kv_heads: u32, dim: u32, window: Option<u32>) -> Attention {
    Attention::Gqa {
        heads: kv_heads * 4,
        kv_heads,
        key_dim: dim,
        value_dim: dim,
        window,
        shared: false,
    }
}

fn model(layers: Vec<Attention>) -> ModelSpec {
    let tensor = |name: &str, role, shape: Vec<u64>| TensorSpec {
        name: name.to_owned(),
        role,
        shape,
        dtype: String::new(),
        bytes: 0,
    };
    ModelSpec {
        name: "test-8b".to_owned(),
        architecture: "llama".to_owned(),
        kind: ModelKind::Llm,
        parameters: 8_030_000_000,
        active_parameters: 8_030_000_000,
        context_length: 131_072,
        hidden: 4096,
        vocabulary: 128_256,
        experts: 0,
        experts_used: 0,
        tied_output: false,
        layers,
        tensors: vec![
            tensor("embedding", Role::Embedding, vec![4096, 128_256]),
            tensor("output", Role::Output, vec![4096, 128_256]),
            tensor("layers", Role::FeedForward, vec![4096, 1_703_936]),
        ],
    }
}

fn plan(model: &ModelSpec, context: u64, kv: KvPrecision) -> MemoryPlan {
    let precision = Some(Precision::Q4_K_M);
    memory_plan(model, &PlanFor { precision, context, kv, backend: "llama.cpp", cpu_isa: &[] })
}

fn kv_gib(layers: Vec<Attention>) -> f64 {
    plan(&model(layers), 131_072, KvPrecision::F16).kv_cache as f64 / (1u64 << 30) as f64
}

/// `count` layers, each `every`-th with full attention and the rest with a window.
fn alternating(count: u32, every: u32, kv_heads: u32, dim: u32, window: u32) -> Vec<Attention> {
    (1..=count).map(|i| gqa(kv_heads, dim, (i % every != 0).then_some(window))).collect()
}

#[test]
fn kv_cache_at_128k_tokens_is_what_the_architectures_allocate() {
    let near =
        |got: f64, want: f64| assert!((got / want - 1.0).abs() < 0.03, "{got} GiB, not {want}");
    near(kv_gib(vec![gqa(8, 128, None); 32]), 16.0); // Llama-3.1-8B
    near(kv_gib(alternating(62, 6, 16, 128, 1024)), 10.4); // Gemma-3-27B
    near(kv_gib(alternating(24, 2, 8, 64, 128)), 3.0); // gpt-oss-20b
    let latent = Attention::Mla { heads: 128, kv_lora_rank: 512, rope_dim: 64 };
    near(kv_gib(vec![latent; 61]), 8.6); // DeepSeek-V3.1
}

#[test]
fn a_quantized_cache_takes_its_block_size() {
    let cache = |kv| plan(&model(vec![gqa(8, 128, None); 32]), 4096, kv).kv_cache;
    assert_eq!(cache(KvPrecision::Q8_0) * 64, cache(KvPrecision::F16) * 34);
}

fn device(bandwidth: f64) -> Device {
    let gpu = Processor {
        id: "gpu0".to_owned(),
        kind: ProcessorKind::DiscreteGpu,
        vendor: "NVIDIA".to_owned(),
        name: "test".to_owned(),
        architecture: String::new(),
        apis: vec![ComputeApi::Cuda],
        memory_bytes: Some(Fact::published(24 << 30, "test")),
        memory_free_bytes: None,
        unified: false,
        bandwidth_gbs: Some(Fact::published(bandwidth, "test")),
        fp32_tflops: Some(Fact::published(35.58, "test")),
        fp16_tflops: Some(Fact::published(142.3, "test")),
        int8_tops: None,
        profile: String::new(),
        power_w: None,
    };
    Device {
        id: "here".to_owned(),
        name: "test".to_owned(),
        class: DeviceClass::Desktop,
        os: "linux".to_owned(),
        cpu: CpuFacts::default(),
        limits: Limits::default(),
        processors: vec![gpu],
        problems: Vec::new(),
    }
}

fn predict(p: &Predictor, device: &Device) -> Prediction {
    p.predict(&query(device, &model(vec![gqa(8, 128, None); 32]))).unwrap()
}

fn query<'a>(device: &'a Device, model: &'a ModelSpec) -> Query<'a> {
    Query {
        device,
        processor: &device.processors[0],
        api: ComputeApi::Cuda,
        framework: "llama.cpp",
        model,
        precision: Precision::Q4_K_M,
        context: 8192,
        prompt: 512,
        threads: None,
        kv_precision: KvPrecision::F16,
        gpu_layers: None,
    }
}

#[test]
fn an_8b_model_on_a_936_gbs_gpu_decodes_near_what_the_scoreboards_say() {
    let p = predict(&Predictor::embedded(), &device(936.2));
    let decode = p.decode_tok_s.unwrap();
    assert!((90.0..160.0).contains(&decode.value), "{decode:?}");
    assert!(decode.low < decode.value && decode.value < decode.high);
    assert_eq!(decode.rung, Rung::Profile);
    assert!(p.decode_full_context_tok_s.unwrap().value < decode.value);
    assert!(p.prefill_tok_s.unwrap().value > 1500.0);
}

#[test]
fn layers_left_to_the_cpu_cost_the_cpu_s_time_and_all_of_them_nothing() {
    let mut device = device(936.2);
    let cpu = Processor {
        id: "cpu".to_owned(),
        kind: ProcessorKind::Cpu,
        apis: vec![ComputeApi::Cpu],
        bandwidth_gbs: Some(Fact::published(60.0, "test")),
        unified: true,
        ..device.processors[0].clone()
    };
    device.processors.push(cpu);
    let spec = model(vec![gqa(8, 128, None); 32]);
    let decode = |gpu_layers| {
        let p = Predictor::embedded();
        p.predict(&Query { gpu_layers, ..query(&device, &spec) }).unwrap().decode_tok_s.unwrap()
    };
    assert_eq!(decode(Some(32)), decode(None));
    let (half, whole) = (decode(Some(16)), decode(None));
    assert!(half.value < 0.5 * whole.value && half.value > 0.0, "{half:?}");
    assert!(half.low < half.value && half.value < half.high);
    assert!(half.basis.contains("16 of 32 layers on gpu0"), "{}", half.basis);
}

#[test]
fn an_anchor_measured_here_corrects_the_prediction_and_raises_its_rung() {
    let (device, spec) = (device(936.2), model(vec![gqa(8, 128, None); 32]));
    let before = predict(&Predictor::embedded(), &device).decode_tok_s.unwrap();
    let query = query(&device, &spec);
    let anchor = Anchor {
        framework: "llama.cpp".to_owned(),
        processor: "gpu0".to_owned(),
        model: "other".to_owned(),
        precision: Precision::Q8_0,
        tok_s: 0.8 * before.value,
        case: predictor::observe(&query).unwrap(),
        run: "r".to_owned(),
    };
    let calibration = Calibration { device: "here".to_owned(), anchors: vec![anchor] };
    let p = Predictor::embedded().with_evidence(calibration.clone());
    let after = predict(&p, &device).decode_tok_s.unwrap();
    assert!((after.value / before.value - 0.8).abs() < 1e-9);
    assert_eq!(after.rung, Rung::CalibratedHere);
    let mut slower = device.clone();
    slower.processors[0].bandwidth_gbs =
        Some(Fact::published(500.0, "read again, on a busy machine"));
    assert_eq!(predict(&p, &slower).decode_tok_s.unwrap().value, after.value);
    let other = Device { id: "elsewhere".to_owned(), ..device };
    assert_eq!(predict(&p, &other).decode_tok_s.unwrap().rung, Rung::Profile);
}

#[test]
fn odd_rows_are_counted_with_their_reason() {
    let csv = "device_id,backend,quant,test,tok_s_mean,params_b,framework\n\
               rtx-3090,cuda,Q4_0,tg128,120,7,llama.cpp\n\
               no-such,cuda,Q4_0,tg128,120,7,llama.cpp\n\
               rtx-3090,cuda,Q4_0,tg128,NaN,7,llama.cpp\n\
               rtx-3090,cuda,?,tg128,100,7,\n\
               rtx-3090,\u{e9},\u{e9}\u{e9},\u{e9}\n\
               rtx-3090,cuda,Q4_0,xx,100,7,\n";
    let e = Rows::read(csv.as_bytes(), None, false).unwrap().evaluate(Params::embedded());
    assert_eq!((e.rows, e.predicted), (6, 1));
    assert_eq!(e.not_predicted["unknown device"], 1);
    assert_eq!(e.not_predicted.values().sum::<usize>(), 5);
}

#[test]
fn a_row_that_states_no_size_has_its_models() {
    let billions = |model: &str| {
        let [device_id, backend] = ["snapdragon-8-elite", "npu"].map(str::to_owned);
        let [quant, test, tok_s_mean] = ["q4_0", "tg@ctx512", "20"].map(str::to_owned);
        let model = model.to_owned();
        let row = rows::RawRow {
            device_id,
            backend,
            quant,
            test,
            tok_s_mean,
            model,
            ..Default::default()
        };
        let sample = rows::sample(&row, devices::embedded());
        sample.map(|s| (s.observation.billions * 100.0).round() / 100.0)
    };
    assert_eq!(billions("gemma_4_e2b_it"), Ok(4.65), "not the 2 billion that are effective");
    assert_eq!(billions("Phi-4"), Ok(14.66));
    assert_eq!(billions("llama_v3_2_3b"), Ok(3.0), "a name with its size");
    assert_eq!(billions("IQ2_BN"), Err("neither parameters nor size known"));
}

#[test]
fn a_table_without_the_columns_is_an_error_that_names_one() {
    let error = Rows::read("a,b\n1,2\n".as_bytes(), None, false).err().unwrap();
    assert_eq!(error.to_string(), "no column `device_id`");
}
