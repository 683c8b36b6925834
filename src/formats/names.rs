//! What tensors of Hugging Face and ONNX files are for, by name, and how wide their types are.

use crate::model::Role;

/// `TensorProto.DataType`: id, name, bits.
pub(super) const ONNX_TYPES: &[(u64, &str, u64)] = &[
    (1, "FLOAT", 32),
    (2, "UINT8", 8),
    (3, "INT8", 8),
    (4, "UINT16", 16),
    (5, "INT16", 16),
    (6, "INT32", 32),
    (7, "INT64", 64),
    (8, "STRING", 0),
    (9, "BOOL", 8),
    (10, "FLOAT16", 16),
    (11, "DOUBLE", 64),
    (12, "UINT32", 32),
    (13, "UINT64", 64),
    (14, "COMPLEX64", 64),
    (15, "COMPLEX128", 128),
    (16, "BFLOAT16", 16),
    (17, "FLOAT8E4M3FN", 8),
    (18, "FLOAT8E4M3FNUZ", 8),
    (19, "FLOAT8E5M2", 8),
    (20, "FLOAT8E5M2FNUZ", 8),
    (21, "UINT4", 4),
    (22, "INT4", 4),
    (23, "FLOAT4E2M1", 4),
    (24, "FLOAT8E8M0", 8),
];

/// Types of safetensors: name, bits.
pub(super) const SAFETENSORS_TYPES: &[(&str, u64)] = &[
    ("F64", 64),
    ("F32", 32),
    ("F16", 16),
    ("BF16", 16),
    ("F8_E4M3", 8),
    ("F8_E5M2", 8),
    ("F8_E8M0", 8),
    ("F4", 4),
    ("I64", 64),
    ("I32", 32),
    ("I16", 16),
    ("I8", 8),
    ("U64", 64),
    ("U32", 32),
    ("U16", 16),
    ("U8", 8),
    ("BOOL", 8),
    ("C64", 64),
];

/// What a tensor is for, by the usual names of `transformers` modules.
pub(super) fn role_of_path(name: &str) -> Role {
    let name = name.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|p| name.contains(p));
    if has(&["norm", "layer_norm", "ln_", "batchnorm"]) {
        Role::Norm
    } else if has(&[".experts."]) {
        Role::Expert
    } else if has(&["lm_head", "output_layer"]) {
        Role::Output
    } else if has(&["embed", "wte", "wpe"]) {
        Role::Embedding
    } else if has(&["attn", "attention", "mamba", "mixer", "conv.in_proj", "conv.out_proj"]) {
        Role::Attention
    } else if has(&["mlp", "ffn", "feed_forward", "intermediate", "fc1", "fc2", "experts"]) {
        Role::FeedForward
    } else {
        Role::Other
    }
}
