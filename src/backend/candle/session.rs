//! The engine as a [`TextSession`], and what it says of itself.

use std::collections::BTreeMap;

use super::engine::Engine;
use super::kernels::{Dtype, Kernel};
use crate::backend::greedy::argmax;
use crate::backend::{BackendError, TextSession};
use crate::model::{Finding, FindingKind};
use crate::record::SessionFacts;

pub(super) struct CandleSession(pub(super) Engine);

impl TextSession for CandleSession {
    fn facts(&self) -> SessionFacts {
        let (engine, model) = (&self.0, self.0.model());
        let mut kernels: BTreeMap<String, u64> = BTreeMap::new();
        let matrices = || model.matrices().map(|m| (m.kernel(engine.isa()), m));
        for (kernel, m) in matrices() {
            *kernels.entry(kernel.to_string()).or_default() += m.size_bytes();
        }
        let mut by_bytes: Vec<_> = kernels.into_iter().collect();
        by_bytes.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let names: Vec<_> = by_bytes.into_iter().map(|(name, _)| name).collect();
        let setting = |k: &str, v: String| (k.to_owned(), v);
        SessionFacts {
            version: super::CANDLE_VERSION.to_owned(),
            kernel: names.join(" + "),
            path: "library".to_owned(),
            placement: BTreeMap::from([("cpu".to_owned(), model.layers.len() as u64)]),
            weight_bytes: Some(model.weight_bytes),
            kv_cache_bytes: Some(engine.cache_bytes()),
            compute_buffer_bytes: Some(engine.compute_bytes()),
            settings: BTreeMap::from([
                setting("kv", "f16".into()),
                setting("weights", "mmap".into()),
                setting("threads", engine.threads().to_string()),
                setting("prefill", "f32 gemm on expanded tiles".into()),
            ]),
            findings: scalar_kernels(matrices().map(|(kernel, m)| (kernel, m.dtype))),
            ..SessionFacts::default()
        }
    }

    fn vocabulary(&self) -> u32 {
        self.0.model().config.vocabulary as u32
    }

    fn reset(&mut self) -> Result<(), BackendError> {
        self.0.reset();
        Ok(())
    }

    fn prefill(&mut self, tokens: &[u32]) -> Result<u32, BackendError> {
        Ok(argmax(self.0.extend(tokens)?))
    }

    fn decode(&mut self, token: u32) -> Result<u32, BackendError> {
        Ok(argmax(self.0.extend(&[token])?))
    }

    fn logits(
        &mut self,
        tokens: &[u32],
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), BackendError> {
        self.0.extend_all(tokens, sink)
    }
}

fn scalar_kernels(matrices: impl Iterator<Item = (Kernel, Dtype)>) -> Vec<Finding> {
    let mut scalar: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, dtype) in matrices.filter(|(kernel, _)| *kernel == Kernel::Expanded) {
        *scalar.entry(dtype.name()).or_default() += 1;
    }
    let finding = |(dtype, tensors)| {
        let detail = format!("{tensors} {dtype} matrices have no vector kernel on this CPU");
        Finding::note(FindingKind::ScalarKernel, detail).with_hint(
            "decode is slower than the type allows; another precision may be faster here",
        )
    };
    scalar.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::super::kernels::Isa;
    use super::*;

    #[test]
    fn a_type_without_a_vector_kernel_is_a_finding_and_others_are_not() {
        let dtypes = [Dtype::Q8_0, Dtype::Q8_0, Dtype::F16];
        let on = |isa| scalar_kernels(dtypes.iter().map(|d| (Kernel::of(*d, isa), *d)));
        let found = on(Isa::Baseline);
        assert!(found.iter().all(|f| f.kind == FindingKind::ScalarKernel && !f.invalidates));
        assert!(found.iter().any(|f| f.detail.starts_with("2 Q8_0")), "{found:?}");
        assert_eq!(Isa::detect() >= Isa::Avx2, on(Isa::detect()).is_empty());
    }
}
