//! Why a quantized graph may not be faster: what of it computes in integers, and what was inserted to get there.

use crate::formats::onnx::OnnxSummary;
use crate::model::{CpuFacts, Finding, FindingKind, Isa, Precision, PrecisionClass};

/// Products of weights, by how they compute.
const FLOAT: &[&str] = &["MatMul", "Gemm", "Conv", "ConvTranspose", "LSTM", "GRU"];
const INTEGER: &[&str] = &[
    "MatMulInteger",
    "ConvInteger",
    "QLinearMatMul",
    "QLinearConv",
    "com.microsoft:DynamicQuantizeMatMul",
    "com.microsoft:DynamicQuantizeLSTM",
    "com.microsoft:QGemm",
];
const PACKED: &[&str] = &["com.microsoft:MatMulNBits", "com.microsoft:GatherBlockQuantized"];

/// Operators that engines have no 8-bit kernel for: between two of them values go back to floating point.
/// Source: the QLinear operators that ONNX Runtime registers for the CPU, and what they lack.
const FLOAT_ONLY: &[&str] = &[
    "HardSwish",
    "HardSigmoid",
    "LayerNormalization",
    "Erf",
    "Gelu",
    "Div",
    "Sub",
    "Pow",
    "Sqrt",
    "Exp",
    "Tanh",
    "ConvTranspose",
    "LSTM",
    "GRU",
    "ReduceMean",
];

/// What a reader needs to judge the speed of a variant of `source`; `None` for one in floating point.
pub fn explain(precision: Precision, graph: &OnnxSummary, cpu: &CpuFacts) -> Option<Finding> {
    let count = |names: &[&str]| -> u64 {
        names.iter().filter_map(|name| graph.operators.get(*name)).sum()
    };
    let (float, integer, packed) = (count(FLOAT), count(INTEGER), count(PACKED));
    let quantize = count(&["QuantizeLinear", "DynamicQuantizeLinear"]);
    let dequantize = count(&["DequantizeLinear"]);
    let casts = count(&["Cast"]);
    let mut kind = FindingKind::Note;
    let detail = match precision.class() {
        PrecisionClass::Full => return None,
        PrecisionClass::Half => format!(
            "weights are stored in 16 bits, {casts} casts; processors without 16-bit arithmetic compute in 32 \
             bits and convert"
        ),
        _ if packed > 0 => format!(
            "{packed} products read packed weights and compute in floating point, {float} stay as they were: \
             weight-only quantization saves memory, and time only where reading weights is the limit"
        ),
        _ => {
            let mut text = if dequantize > 0 && integer == 0 {
                format!(
                    "{float} products between {quantize} quantize and {dequantize} dequantize steps; the engine \
                     computes in integers where it can fuse a product with the steps around it"
                )
            } else {
                let scaled = count(&["Mul"]);
                format!(
                    "{integer} of {} products compute in integers; {quantize} quantize steps and {scaled} \
                     multiplications run beside them",
                    integer + float
                )
            };
            let mut stays: Vec<(&str, u64)> =
                FLOAT_ONLY.iter().map(|op| (*op, count(&[op]))).filter(|(_, n)| *n > 0).collect();
            stays.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
            if !stays.is_empty() {
                let named: Vec<String> =
                    stays.iter().take(3).map(|(op, n)| format!("{n} {op}")).collect();
                text.push_str(&format!("; no 8-bit kernel for {}", named.join(", ")));
            }
            if count(&["ConvInteger"]) > 0 {
                text.push_str(
                    "; convolutions quantized at run time (ConvInteger) have no fast kernel",
                );
            }
            if let Some(missing) = missing(cpu) {
                kind = FindingKind::MissingIsa;
                text.push_str(&format!("; this CPU has no {missing}"));
            }
            text
        }
    };
    Some(Finding::note(kind, detail))
}

/// The instruction for 8-bit dot products that an architecture could have and this CPU has not.
fn missing(cpu: &CpuFacts) -> Option<&'static str> {
    let has = |isa: &[Isa]| isa.iter().any(|i| cpu.isa.contains(i));
    match cpu.arch.as_str() {
        "x86_64" if !has(&[Isa::Avx512Vnni, Isa::AvxVnni]) => {
            Some("VNNI, so an 8-bit dot product takes three instructions instead of one")
        }
        "aarch64" if !has(&[Isa::DotProd, Isa::I8mm]) => {
            Some("dot-product instructions, so 8-bit products are widened first")
        }
        _ => None,
    }
}
