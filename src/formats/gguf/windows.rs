//! Which layers of an architecture attend through a sliding window, where the file does not say.

/// llama.cpp seeds these before it reads `attention.sliding_window_pattern` (its `src/models/*.cpp`, build 11434).
pub(super) struct WindowDefault {
    pub(super) architecture: &'static str,
    /// One layer in `period` attends in full.
    pub(super) period: u64,
    /// The full layer is the first of each period rather than the last.
    pub(super) dense_first: bool,
    /// Window where the file has none; without one such a file attends in full everywhere.
    pub(super) window: Option<u32>,
}

const fn w(
    architecture: &'static str,
    period: u64,
    dense_first: bool,
    window: Option<u32>,
) -> WindowDefault {
    WindowDefault { architecture, period, dense_first, window }
}

const DEFAULTS: &[WindowDefault] = &[
    w("afmoe", 4, false, None),
    w("cohere2", 4, false, None),
    w("cohere2moe", 4, true, None),
    w("exaone-moe", 4, false, Some(128)),
    w("exaone4", 4, false, None),
    w("gemma-embedding", 6, false, None),
    w("gemma2", 2, false, Some(4096)),
    w("gemma3", 6, false, None),
    w("gemma3n", 5, false, None),
    w("gpt-oss", 2, false, None),
    w("laguna", 4, true, None),
    w("llama4", 4, false, Some(8192)),
    w("mellum", 4, false, None),
    w("modern-bert", 3, true, None),
    w("olmo2", 4, false, None),
    w("plamo3", 8, false, None),
    w("smallthinker", 4, true, None),
];

pub(super) fn window_default(architecture: &str) -> Option<&'static WindowDefault> {
    DEFAULTS.iter().find(|d| d.architecture == architecture)
}

/// True where layer `layer` attends through the window.
pub(super) fn is_windowed(layer: u64, period: u64, dense_first: bool) -> bool {
    match period {
        0 => true,
        _ if dense_first => !layer.is_multiple_of(period),
        _ => layer % period < period - 1,
    }
}

/// The window of a layer of an architecture, as a file without a pattern of its own would have it.
pub(crate) fn layer_window(architecture: &str, window: Option<u32>, layer: u64) -> Option<u32> {
    let d = window_default(architecture)?;
    window.or(d.window).filter(|_| is_windowed(layer, d.period, d.dense_first))
}
