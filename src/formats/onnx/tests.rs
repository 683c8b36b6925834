//! Graphs written by hand, field by field, and mutated.

use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::{Attention, ModelKind};

fn varint(mut v: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
    out
}

fn int(number: u64, v: u64) -> Vec<u8> {
    [varint(number << 3), varint(v)].concat()
}

fn bytes(number: u64, data: impl AsRef<[u8]>) -> Vec<u8> {
    let data = data.as_ref();
    [varint(number << 3 | 2), varint(data.len() as u64), data.to_vec()].concat()
}

fn tensor(name: &str, dims: &[u64], kind: u64, data: &[u8]) -> Vec<u8> {
    let packed: Vec<u8> = dims.iter().flat_map(|&d| varint(d)).collect();
    [bytes(1, packed), int(2, kind), bytes(8, name), bytes(9, data)].concat()
}

fn external(name: &str, location: &str, offset: u64, length: u64) -> Vec<u8> {
    let entry = |k: &str, v: String| bytes(13, [bytes(1, k), bytes(2, v)].concat());
    [
        int(1, length / 4),
        int(2, 1),
        bytes(8, name),
        entry("location", location.into()),
        entry("offset", offset.to_string()),
        entry("length", length.to_string()),
        int(14, 1),
    ]
    .concat()
}

enum D {
    N(u64),
    P(&'static str),
}

fn port(name: &str, dims: &[D]) -> Vec<u8> {
    let dims: Vec<u8> = dims
        .iter()
        .flat_map(|d| {
            bytes(
                1,
                match d {
                    D::N(n) => int(1, *n),
                    D::P(p) => bytes(2, p),
                },
            )
        })
        .collect();
    let tensor = [int(1, 1), bytes(2, dims)].concat();
    [bytes(1, name), bytes(2, bytes(1, tensor))].concat()
}

fn node(op: &str, domain: &str, attribute: Option<Vec<u8>>) -> Vec<u8> {
    let attribute = attribute.map(|a| bytes(5, a)).unwrap_or_default();
    [bytes(1, "x"), bytes(4, op), bytes(7, domain), attribute].concat()
}

fn model(graph: &[Vec<u8>]) -> Vec<u8> {
    let opset = |d: &str, v| bytes(8, [bytes(1, d), int(2, v)].concat());
    let graph = bytes(7, graph.concat());
    [int(1, 9), bytes(2, "by hand"), graph, opset("", 17), opset("com.microsoft", 1)].concat()
}

fn sample() -> Vec<u8> {
    let branch = [bytes(1, node("Relu", "", None)), bytes(5, tensor("in_if", &[2], 10, &[0; 4]))];
    model(&[
        bytes(1, node("MatMul", "", None)),
        bytes(1, node("MatMulNBits", "com.microsoft", None)),
        bytes(1, node("If", "", Some(bytes(6, branch.concat())))),
        bytes(1, node("Constant", "", Some(bytes(5, tensor("shape", &[2], 7, &[0; 16]))))),
        bytes(5, tensor("w", &[3, 4], 1, &[0; 48])),
        bytes(5, tensor("q", &[16], 21, &[0; 8])),
        bytes(11, port("pixels", &[D::P("batch"), D::N(3), D::N(u64::MAX), D::N(8)])),
        bytes(11, port("w", &[D::N(3), D::N(4)])),
        bytes(12, port("out", &[D::P("batch"), D::N(10)])),
    ])
}

fn write(dir: &TempDir, content: &[u8]) -> PathBuf {
    let path = dir.path().join("m.onnx");
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn matrices_in_blocks_say_how_they_are_stored() {
    let attribute = |name: &str, v| bytes(5, [bytes(1, name), int(3, v)].concat());
    let matmul = |inputs: &[&str], bits, block| {
        let inputs: Vec<u8> = inputs.iter().flat_map(|i| bytes(1, i)).collect();
        let settings = [attribute("bits", bits), attribute("block_size", block)].concat();
        let name = [bytes(4, "MatMulNBits"), bytes(7, "com.microsoft")].concat();
        bytes(1, [inputs, name, settings].concat())
    };
    let dir = TempDir::new().unwrap();
    let graph = model(&[
        matmul(&["x", "w", "scales"], 4, 32),
        matmul(&["x", "w", "scales"], 4, 32),
        matmul(&["x", "w", "scales", "zero_points"], 8, 128),
    ]);
    let found = read(&write(&dir, &graph)).unwrap().block_weights;
    let blocks = |bits, block, zero_points| BlockWeights { bits, block, zero_points };
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [blocks(4, 32, false), blocks(8, 128, true)]);
}

#[test]
fn a_graph_is_read_with_its_subgraphs_constants_and_free_axes() {
    let dir = TempDir::new().unwrap();
    let s = read(&write(&dir, &sample())).unwrap();
    assert_eq!((s.ir_version, s.producer.as_str(), s.nodes), (9, "by hand", 5));
    assert_eq!(s.opsets.iter().map(|o| o.version).collect::<Vec<_>>(), [17, 1]);
    assert_eq!(s.operators["com.microsoft:MatMulNBits"], 1);
    assert_eq!(s.operators["Relu"], 1);
    assert_eq!(s.inputs.len(), 1, "a weight among the inputs is no input");
    let free = |n: &str| Dim::Free(n.into());
    assert_eq!(s.inputs[0].dims, [free("batch"), Dim::Fixed(3), free(""), Dim::Fixed(8)]);
    assert_eq!(s.outputs[0].dims, [free("batch"), Dim::Fixed(10)]);
    let find = |n: &str| s.tensors.iter().find(|t| t.name == n).unwrap();
    assert_eq!((find("w").shape.clone(), find("w").bytes), (vec![4, 3], 48));
    assert_eq!((find("q").dtype.as_str(), find("q").bytes), ("UINT4", 8));
    assert_eq!(s.parameters, 12 + 16 + 2, "index tensors are no parameters");
    assert_eq!(s.spec("m").kind, ModelKind::Vision);
}

#[test]
fn a_decoder_shows_its_cache_layers() {
    let dir = TempDir::new().unwrap();
    let past = |n: u32| {
        let dims = [D::P("b"), D::N(3), D::P("p"), D::N(64)];
        bytes(11, port(&format!("past_key_values.{n}.key"), &dims))
    };
    let logits = bytes(12, port("logits", &[D::P("b"), D::P("s"), D::N(49152)]));
    let spec = read(&write(&dir, &model(&[past(0), past(1), logits]))).unwrap().spec("m");
    assert_eq!((spec.kind, spec.layers.len(), spec.vocabulary), (ModelKind::Llm, 2, 49152));
    assert!(matches!(spec.layers[0], Attention::Gqa { kv_heads: 3, key_dim: 64, .. }));
}

#[test]
fn external_data_must_be_there_long_enough_and_inside() {
    let dir = TempDir::new().unwrap();
    let with = |location: &str, offset| {
        let path = write(&dir, &model(&[bytes(5, external("w", location, offset, 64))]));
        read(&path).map_err(|e| e.to_string())
    };
    assert!(with("m.data", 0).unwrap_err().contains("is missing"));
    std::fs::write(dir.path().join("m.data"), vec![0; 100]).unwrap();
    let summary = with("m.data", 36).unwrap();
    assert_eq!((summary.external[0].bytes, summary.external[0].needed), (100, 100));
    assert!(with("m.data", 37).unwrap_err().contains("is truncated"));
    for escape in ["../m.data", "/etc/passwd", "a\\b", "c:x", ""] {
        assert!(with(escape, 0).unwrap_err().contains("outside its directory"), "{escape}");
    }
}

#[test]
fn damage_is_named() {
    let dir = TempDir::new().unwrap();
    let mut nested = node("If", "", None);
    for _ in 0..40 {
        nested = node("If", "", Some(bytes(6, bytes(1, nested))));
    }
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "is not an ONNX model: it has no graph"),
        (b"GGUF....".to_vec(), "is not an ONNX model"),
        (int(1, 9), "it has no graph"),
        (model(&[bytes(1, nested)]), "nest deeper than"),
        (model(&[bytes(5, tensor("w", &[u64::MAX, 2], 1, &[0]))]), "tensor `w` overflows"),
        (model(&[bytes(5, tensor("w", &[1; 100], 1, &[0]))]), "more than 32"),
        (model(&[bytes(5, [int(1, 5), int(2, 1), bytes(8, "w")].concat())]), "has no data"),
    ];
    for (content, want) in cases {
        let error = read(&write(&dir, &content)).unwrap_err().to_string();
        assert!(error.contains(want), "{want:?} in {error:?}");
    }
    let whole = sample();
    for n in 0..whole.len() - 30 {
        assert!(read(&write(&dir, &whole[..n])).is_err(), "{n} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn mutated_models_never_panic(
        edits in prop::collection::vec((0.0..1.0f64, any::<u8>()), 1..12)
    ) {
        let dir = TempDir::new().unwrap();
        let mut content = sample();
        for (at, value) in edits {
            let i = (at * content.len() as f64) as usize;
            content[i] = value;
        }
        if let Ok(summary) = read(&write(&dir, &content)) {
            let _ = summary.spec("m");
        }
    }
}
