//! The suites that come with the binary: the files of `suites/`, one line each.

/// Name and text of every built-in suite.
pub const BUILTIN: &[(&str, &str)] = &[
    ("llm", include_str!("../../suites/llm.toml")),
    ("llm-quick", include_str!("../../suites/llm-quick.toml")),
    ("llm-depth", include_str!("../../suites/llm-depth.toml")),
    ("embedding", include_str!("../../suites/embedding.toml")),
    ("vision", include_str!("../../suites/vision.toml")),
    ("speech", include_str!("../../suites/speech.toml")),
];

/// The text of a built-in suite.
pub fn builtin(name: &str) -> Option<&'static str> {
    BUILTIN.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}
