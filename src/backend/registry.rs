//! Every backend, one line each.

use super::traits::Backend;
use super::{candle, fault, llama_cpp, mlx, null, olive, onnxruntime, openvino, qnn};

/// All backends, in the order tables show them.
pub fn all() -> &'static [&'static dyn Backend] {
    &[
        &candle::Candle,
        &llama_cpp::LlamaCpp,
        &onnxruntime::OnnxRuntime,
        &olive::Olive,
        &openvino::OpenVino,
        &mlx::Mlx,
        &qnn::Qnn,
        &null::Null,
        &fault::Fault,
    ]
}

/// The backend with that id.
pub fn find(id: &str) -> Option<&'static dyn Backend> {
    all().iter().copied().find(|b| b.info().id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_every_listed_backend_says_what_it_is_for_and_where_it_lives() {
        let mut seen = std::collections::BTreeSet::new();
        for backend in all() {
            let info = backend.info();
            assert!(seen.insert(info.id), "{} twice", info.id);
            assert!(!info.precisions.is_empty() && !info.kinds.is_empty(), "{}", info.id);
            if info.listed {
                assert!(!info.use_case.is_empty() && !info.homepage.is_empty(), "{}", info.id);
            }
        }
    }
}
