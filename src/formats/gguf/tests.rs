//! Round trips, hostile heads and known shapes.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::formats::FormatError;
use crate::model::{Attention, Role};

type Keys = Vec<(String, Encoded)>;

fn key(name: &str, value: Encoded) -> (String, Encoded) {
    (name.to_owned(), value)
}

fn decl(name: &str, shape: &[u64], type_name: &str) -> TensorDecl {
    let type_id = ggml_type_named(type_name).unwrap().id;
    TensorDecl { name: name.into(), shape: shape.to_vec(), type_id }
}

fn small_keys(arch: &str) -> Keys {
    let k = |name: &str, v: u32| key(&format!("{arch}.{name}"), Encoded::u32(v));
    vec![
        key("general.architecture", Encoded::string(arch)),
        k("block_count", 2),
        k("embedding_length", 64),
        k("context_length", 128),
        k("attention.head_count", 4),
        k("attention.head_count_kv", 2),
        key("tokenizer.ggml.tokens", Encoded::strings(["a", "bc", "\u{e9}"])),
        key("tokenizer.ggml.scores", Encoded::f32s(&[0.5, -1.0, 2.0])),
        key("tokenizer.ggml.token_type", Encoded::i32s(&[1, -2, 3])),
    ]
}

fn small_tensors() -> Vec<TensorDecl> {
    vec![
        decl("token_embd.weight", &[64, 3], "F16"),
        decl("blk.0.attn_q.weight", &[64, 64], "Q4_0"),
        decl("blk.1.ffn_norm.weight", &[7], "F32"),
        decl("blk.1.ffn_down_exps.weight", &[256, 64, 2], "Q4_K"),
    ]
}

fn write(path: &Path, keys: &Keys, tensors: &[TensorDecl]) {
    let mut w = GgufWriter::create(path, keys, tensors).unwrap();
    while let Some(i) = w.current() {
        let n = w.remaining().min(1000) as usize;
        w.write(&vec![i as u8 + 1; n]).unwrap();
    }
    w.finish().unwrap();
}

fn small(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("small.gguf");
    write(&path, &small_keys("llama"), &small_tensors());
    path
}

#[test]
fn what_is_written_is_read_back() {
    let dir = TempDir::new().unwrap();
    let path = small(&dir);
    let g = Gguf::open(&path).unwrap();
    assert_eq!((g.version, g.alignment, g.tensors.len()), (3, 32, 4));
    assert_eq!(g.architecture(), "llama");
    assert_eq!(g.u64("llama.block_count"), Some(2));
    assert_eq!(g.array_len("tokenizer.ggml.tokens"), Some(3));
    let tokens = g.strings("tokenizer.ggml.tokens", 10).unwrap().unwrap();
    assert_eq!(tokens, [b"a".to_vec(), b"bc".to_vec(), "\u{e9}".as_bytes().to_vec()]);
    assert_eq!(g.floats("tokenizer.ggml.scores", 10).unwrap().unwrap(), [0.5, -1.0, 2.0]);
    assert_eq!(g.ints("tokenizer.ggml.token_type", 10).unwrap().unwrap(), [1, -2, 3]);
    let bytes = std::fs::read(&path).unwrap();
    for (i, t) in g.tensors.iter().enumerate() {
        let data = &bytes[t.offset as usize..(t.offset + t.bytes) as usize];
        assert!(data.iter().all(|&b| b == i as u8 + 1), "{}", t.name);
    }
    assert!(std::fs::read_dir(dir.path()).unwrap().count() == 1, "no temporary file stays");
}

#[test]
fn metadata_copied_verbatim_reads_the_same() {
    let dir = TempDir::new().unwrap();
    let mut keys = small_keys("llama");
    keys.push(key("x.f", Encoded::f32(0.1)));
    keys.push(key("x.b", Encoded::bool(true)));
    keys.push(key("x.u64", Encoded::u64(u64::MAX)));
    keys.push(key("x.long", Encoded::string(&"y".repeat(2 << 20))));
    let path = dir.path().join("a.gguf");
    write(&path, &keys, &small_tensors());
    assert_eq!(Gguf::open(&path).unwrap().encoded_metadata().unwrap(), keys);
}

#[test]
fn an_unfinished_file_never_appears() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.gguf");
    let mut w = GgufWriter::create(&path, &small_keys("llama"), &small_tensors()).unwrap();
    w.write(&[0; 10]).unwrap();
    assert!(w.write(&vec![0; 1 << 20]).is_err(), "more than the tensor holds");
    assert!(matches!(w.finish(), Err(FormatError::Invalid { .. })));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn every_truncation_is_an_error() {
    let dir = TempDir::new().unwrap();
    let path = small(&dir);
    let bytes = std::fs::read(&path).unwrap();
    let whole = Gguf::open(&path).unwrap();
    let end = whole.tensors.iter().map(|t| t.offset + t.bytes).max().unwrap();
    let head = whole.parts[0].data_offset;
    for n in (0..head).chain((head..end).step_by(997)).chain([end - 1]) {
        std::fs::write(&path, &bytes[..n as usize]).unwrap();
        assert!(Gguf::open(&path).is_err(), "{n} of {end} bytes");
    }
}

/// A head with the given parts, for heads that the writer would refuse.
fn raw(tensors: u64, keys: u64, body: &[u8]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend(tensors.to_le_bytes());
    out.extend(keys.to_le_bytes());
    out.extend(body);
    out
}

fn string(s: &str) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes(), s.as_bytes()].concat()
}

fn tensor(name: &str, dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut out = string(name);
    out.extend((dims.len() as u32).to_le_bytes());
    dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
    out.extend(kind.to_le_bytes());
    out.extend(offset.to_le_bytes());
    out
}

fn error_of(bytes: &[u8]) -> String {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.gguf");
    std::fs::write(&path, bytes).unwrap();
    let error = Gguf::open(&path).expect_err("must be refused");
    assert!(!error.hint().is_empty());
    error.to_string()
}

#[test]
fn each_hostile_head_has_its_own_message() {
    let huge =
        [&string("k")[..], &9u32.to_le_bytes(), &8u32.to_le_bytes(), &u64::MAX.to_le_bytes()];
    let array =
        [&string("k")[..], &9u32.to_le_bytes(), &10u32.to_le_bytes(), &u64::MAX.to_le_bytes()];
    let nested = [&string("k")[..], &9u32.to_le_bytes(), &9u32.to_le_bytes(), &1u64.to_le_bytes()];
    let kind = [&string("k")[..], &77u32.to_le_bytes()];
    let twice = [string("k"), vec![7, 0, 0, 0, 1], string("k"), vec![7, 0, 0, 0, 1]];
    let pad = vec![0; 4096];
    let two = [tensor("a", &[32], 0, 0), tensor("b", &[32], 0, 64), pad.clone()].concat();
    let dup = [tensor("a", &[8], 0, 0), tensor("a", &[8], 0, 32), pad.clone()].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"PK".to_vec(), "is not a GGUF file: it has 2 bytes"),
        (b"ONNXfile".to_vec(), "it does not start with `GGUF`"),
        ([&b"GGUF"[..], &[0, 0, 0, 3]].concat(), "a big-endian GGUF"),
        ([&b"GGUF"[..], &[1, 0, 0, 0]].concat(), "GGUF version 1"),
        (raw(u64::MAX, 0, &[]), "18446744073709551615 tensors"),
        (raw(0, 1 << 40, &[]), "metadata keys, the limits"),
        (raw(0, 1, &huge.concat()), "claims 18446744073709551615 strings"),
        (raw(0, 1, &array.concat()), "array `k` has 18446744073709551615 elements"),
        (raw(0, 1, &nested.concat()), "nested array"),
        (raw(0, 1, &kind.concat()), "unknown value type 77"),
        (raw(0, 2, &twice.concat()), "key `k` appears twice"),
        (raw(0, 1, &u64::MAX.to_le_bytes()), "is truncated"),
        (raw(2, 0, &two), "tensor `a` overlaps"),
        (raw(2, 0, &dup), "tensor `a` appears twice"),
        (raw(1, 0, &[tensor("a", &[8], 0, 1), pad.clone()].concat()), "not aligned"),
        (raw(1, 0, &tensor("a", &[u64::MAX, 9], 0, 0)), "has shape"),
        (raw(1, 0, &tensor("a", &[1, 1, 1, 1, 1], 0, 0)), "5 dimensions"),
        (raw(1, 0, &tensor("a", &[100], 12, 0)), "Q4_K cannot hold [100]"),
        (raw(1, 0, &tensor("a", &[1 << 40], 0, 0)), "is truncated: tensor `a`"),
        (raw(1, 0, &tensor("a", &[8], 0, 1 << 62)), "is truncated: tensor `a`"),
    ];
    for (bytes, want) in cases {
        let got = error_of(&bytes);
        assert!(got.contains(want), "{want:?} in {got:?}");
    }
}

#[test]
fn a_block_count_that_makes_runtimes_abort_is_refused() {
    let layers = |n: u32| {
        let mut keys = small_keys("llama");
        keys[1].1 = Encoded::u32(n);
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("x.gguf");
        write(&path, &keys, &small_tensors());
        Gguf::open(&path).map(|_| ()).map_err(|e| e.to_string())
    };
    assert!(layers(4_000_000_000).unwrap_err().contains("4000000000 layers"));
    assert!(layers(1).unwrap_err().contains("tensor `blk.1.ffn_norm.weight` of layer 1"));
    assert_eq!(layers(2), Ok(()));
}

#[test]
fn a_tensor_type_from_the_future_is_kept() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.gguf");
    let body = [tensor("a", &[32], 999, 0), tensor("b", &[8], 0, 64), vec![0; 256]].concat();
    std::fs::write(&path, raw(2, 0, &body)).unwrap();
    let g = Gguf::open(&path).unwrap();
    assert_eq!((g.tensors[0].type_id, g.tensors[0].bytes), (999, 64));
    assert_eq!(g.tensors[0].type_name(), "type 999");
}

#[test]
fn a_split_model_reads_as_one() {
    let dir = TempDir::new().unwrap();
    let part = |n: u32| dir.path().join(format!("m-{n:05}-of-00002.gguf"));
    let split = |no: u32| {
        vec![
            key("split.no", Encoded::u32(no)),
            key("split.count", Encoded::u32(2)),
            key("split.tensors.count", Encoded::u32(4)),
        ]
    };
    let (head, tail) = (small_tensors()[..2].to_vec(), small_tensors()[2..].to_vec());
    write(&part(1), &[small_keys("llama"), split(0)].concat(), &head);
    let error = Gguf::open(&part(1)).unwrap_err();
    assert!(matches!(&error, FormatError::MissingPart { missing, .. } if *missing == part(2)));
    write(&part(2), &split(1), &tail);
    for opened in [Gguf::open(&part(1)).unwrap(), Gguf::open(&part(2)).unwrap()] {
        assert_eq!((opened.parts.len(), opened.tensors.len()), (2, 4));
        assert_eq!(opened.tensors[3].part, 1);
        assert_eq!(opened.architecture(), "llama");
    }
    write(&part(2), &split(1), &head);
    assert!(Gguf::open(&part(1)).unwrap_err().to_string().contains("is in two parts"));
}

fn spec_of(keys: &Keys, tensors: &[TensorDecl]) -> crate::model::ModelSpec {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x.gguf");
    write(&path, keys, tensors);
    to_spec(&Gguf::open(&path).unwrap()).unwrap()
}

#[test]
fn a_spec_counts_active_experts_and_tied_output() {
    let mut keys = small_keys("llama");
    keys.push(key("llama.expert_count", Encoded::u32(2)));
    keys.push(key("llama.expert_used_count", Encoded::u32(1)));
    let spec = spec_of(&keys, &small_tensors());
    let expert = 256 * 64 * 2;
    assert_eq!(spec.parameters, 64 * 3 + 64 * 64 + 7 + expert);
    assert_eq!(spec.active_parameters, spec.parameters - expert / 2);
    assert!(spec.tied_output);
    let roles: Vec<Role> = spec.tensors.iter().map(|t| t.role).collect();
    assert_eq!(roles, [Role::Embedding, Role::Attention, Role::Norm, Role::Expert]);
    assert_eq!(
        spec.layers[0],
        Attention::Gqa {
            heads: 4,
            kv_heads: 2,
            key_dim: 16,
            value_dim: 16,
            window: None,
            shared: false
        }
    );
}

fn layers_of(arch: &str, layers: u32, more: &[(&str, Encoded)]) -> Vec<Attention> {
    let mut keys = small_keys(arch);
    keys[1].1 = Encoded::u32(layers);
    for (name, value) in more {
        let full = format!("{arch}.{name}");
        keys.retain(|(k, _)| *k != full);
        keys.push((full, value.clone()));
    }
    spec_of(&keys, &[]).layers
}

fn windows(layers: &[Attention]) -> Vec<u32> {
    layers
        .iter()
        .map(|l| match l {
            Attention::Gqa { window, .. } => window.unwrap_or(0),
            _ => panic!("{l:?}"),
        })
        .collect()
}

#[test]
fn windows_follow_the_architecture_or_the_file() {
    let window = ("attention.sliding_window", Encoded::u32(8));
    let only = std::slice::from_ref(&window);
    let of = |arch, layers, more: &[_]| windows(&layers_of(arch, layers, more));
    assert_eq!(of("gemma3", 7, only), [8, 8, 8, 8, 8, 0, 8]);
    assert_eq!(of("gemma2", 4, &[]), [4096, 0, 4096, 0]);
    assert_eq!(of("gpt-oss", 4, only), [8, 0, 8, 0]);
    assert_eq!(of("llama", 2, only), [0, 0], "ignored where no pattern is known");
    let flags = ("attention.sliding_window_pattern", Encoded::bools(&[true, false, false]));
    assert_eq!(of("granite-swa", 3, &[window, flags]), [8, 0, 0]);
}

#[test]
fn layers_are_recurrent_latent_shared_or_parallel_as_the_file_says() {
    let ssm = [
        ("ssm.conv_kernel", Encoded::u32(4)),
        ("ssm.inner_size", Encoded::u32(32)),
        ("ssm.state_size", Encoded::u32(8)),
        ("ssm.group_count", Encoded::u32(1)),
    ];
    let state_elements = 3 * (32 + 2 * 8) + 8 * 32;
    let kinds = |arch, layers, more: &[_]| layers_of(arch, layers, more);

    let kv = ("attention.head_count_kv", Encoded::i32s(&[0, 2]));
    let hybrid = kinds("granitehybrid", 2, &[&ssm[..], &[kv]].concat());
    assert_eq!(hybrid[0], Attention::Recurrent { state_elements });
    assert!(matches!(hybrid[1], Attention::Gqa { kv_heads: 2, .. }));

    let next = kinds("qwen3next", 4, &ssm);
    let recurrent = |l: &Attention| matches!(l, Attention::Recurrent { .. });
    assert_eq!(next.iter().map(recurrent).collect::<Vec<_>>(), [true, true, true, false]);

    // Mamba, feed-forward, attention.
    let kv = ("attention.head_count_kv", Encoded::i32s(&[0, 0, 2]));
    let ff = ("feed_forward_length", Encoded::i32s(&[0, 64, 0]));
    let nemotron = kinds("nemotron_h", 3, &[&ssm[..], &[kv, ff]].concat());
    assert_eq!(nemotron[..2], [Attention::Recurrent { state_elements }, Attention::None]);
    assert!(matches!(nemotron[2], Attention::Gqa { kv_heads: 2, .. }));

    let falcon = kinds("falcon-h1", 1, &ssm);
    assert!(
        matches!(falcon[0], Attention::Parallel { kv_heads: 2, state_elements: s, .. } if s == state_elements)
    );

    let conv = ("shortconv.l_cache", Encoded::u32(3));
    let kv = ("attention.head_count_kv", Encoded::i32s(&[0, 2]));
    assert_eq!(kinds("lfm2", 2, &[conv, kv])[0], Attention::Recurrent { state_elements: 128 });

    let mla = [
        ("attention.kv_lora_rank", Encoded::u32(512)),
        ("attention.key_length_mla", Encoded::u32(192)),
        ("rope.dimension_count", Encoded::u32(64)),
    ];
    assert_eq!(
        kinds("deepseek2", 1, &mla)[0],
        Attention::Mla { heads: 4, kv_lora_rank: 512, rope_dim: 64 }
    );
    assert!(matches!(kinds("deepseek2", 1, &mla[..1])[0], Attention::Gqa { .. }));

    let shared = kinds("gemma3n", 30, &[]);
    let shares = |l: &Attention| matches!(l, Attention::Gqa { shared: true, .. });
    assert_eq!(shared.iter().filter(|l| shares(l)).count(), 10);

    let bert = kinds("bert", 1, &[("attention.causal", Encoded::bool(false))]);
    assert_eq!(bert[0], Attention::Encoder { heads: 4, head_dim: 16 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens to a valid file, opening it returns: no panic, no abort.
    #[test]
    fn mutated_files_never_panic(
        edits in prop::collection::vec((0.0..1.0f64, prop_oneof![
            Just(0u8), Just(1), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()
        ], 1usize..9), 1..8),
        cut in prop::option::of(0.0..1.0f64),
    ) {
        let dir = TempDir::new().unwrap();
        let path = small(&dir);
        let mut bytes = std::fs::read(&path).unwrap();
        let head = Gguf::open(&path).unwrap().parts[0].data_offset as usize;
        for (at, value, run) in edits {
            let start = (at * head as f64) as usize;
            let end = (start + run).min(head);
            bytes[start..end].fill(value);
        }
        if let Some(cut) = cut {
            bytes.truncate((cut * bytes.len() as f64) as usize);
        }
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(g) = Gguf::open(&path) {
            let _ = to_spec(&g);
            for (key, _) in g.metadata() {
                let _ = g.encoded(key);
                let _ = g.strings(key, 1 << 20);
                let _ = g.ints(key, 1 << 20);
                let _ = g.floats(key, 1 << 20);
            }
        }
    }
}
