//! The catalogue: TOML files in the binary, and a directory that adds to them or replaces entries.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::build;
use super::entry::Entry;

/// Every file of `profiles/models/`; a test compares this list with the directory.
const FILES: &[(&str, &str)] = &[
    ("smollm.toml", include_str!("../../profiles/models/smollm.toml")),
    ("llama.toml", include_str!("../../profiles/models/llama.toml")),
    ("qwen2.toml", include_str!("../../profiles/models/qwen2.toml")),
    ("qwen3.toml", include_str!("../../profiles/models/qwen3.toml")),
    ("qwen3.5.toml", include_str!("../../profiles/models/qwen3.5.toml")),
    ("gemma.toml", include_str!("../../profiles/models/gemma.toml")),
    ("phi.toml", include_str!("../../profiles/models/phi.toml")),
    ("mistral.toml", include_str!("../../profiles/models/mistral.toml")),
    ("gpt-oss.toml", include_str!("../../profiles/models/gpt-oss.toml")),
    ("deepseek.toml", include_str!("../../profiles/models/deepseek.toml")),
    ("granite.toml", include_str!("../../profiles/models/granite.toml")),
    ("olmo.toml", include_str!("../../profiles/models/olmo.toml")),
    ("others.toml", include_str!("../../profiles/models/others.toml")),
    ("embedding.toml", include_str!("../../profiles/models/embedding.toml")),
    ("vision.toml", include_str!("../../profiles/models/vision.toml")),
    ("speech.toml", include_str!("../../profiles/models/speech.toml")),
];

/// A larger catalogue file is no catalogue.
const MAX_FILE_BYTES: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("cannot read catalogue `{path}`: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("catalogue `{file}` is not valid: {why}")]
    Invalid { file: String, why: String },
    #[error("no model named `{name}`")]
    Unknown { name: String, similar: Vec<String> },
    #[error("model `{name}` is not on this machine")]
    NotHere { name: String },
    #[error("no file `{path}`")]
    NoFile { path: PathBuf },
}

impl CatalogError {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Read { .. } => "check that the catalogue directory is readable".into(),
            Self::Invalid { .. } => "compare with the files in profiles/models".into(),
            Self::Unknown { similar, .. } if !similar.is_empty() => {
                format!("did you mean {}?", similar.join(", "))
            }
            Self::Unknown { .. } => "`edge-advisor models list` shows the names".into(),
            Self::NotHere { name } => format!("edge-advisor models pull {name}"),
            Self::NoFile { .. } => {
                "check the path, or give a name from `edge-advisor models list`".into()
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    model: Vec<Entry>,
}

/// All known models, in the order of the files.
#[derive(Debug, Clone)]
pub struct Catalog {
    entries: Vec<Entry>,
}

impl Catalog {
    /// The built-in catalogue, then the files of `catalog/` in the data directory where there is one.
    pub fn load() -> Result<Self, CatalogError> {
        let dir = crate::dirs::data().join("catalog");
        Self::load_with(dir.is_dir().then_some(dir.as_path()))
    }

    /// The built-in catalogue with a directory of `*.toml` over it: an entry of the same name replaces ours.
    pub fn load_with(dir: Option<&Path>) -> Result<Self, CatalogError> {
        let mut entries = Vec::new();
        for (file, text) in FILES {
            entries.extend(parse(file, text)?);
        }
        let Some(dir) = dir else { return Ok(Self { entries }) };
        for path in toml_files(dir)? {
            for entry in parse(&path.display().to_string(), &read_bounded(&path)?)? {
                match entries.iter_mut().find(|e| e.name == entry.name) {
                    Some(old) => *old = entry,
                    None => entries.push(entry),
                }
            }
        }
        Ok(Self { entries })
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of this name, in any case; else the names closest to it.
    pub fn get(&self, name: &str) -> Result<&Entry, CatalogError> {
        self.entries.iter().find(|e| e.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
            CatalogError::Unknown { name: name.to_owned(), similar: self.similar(name) }
        })
    }

    fn similar(&self, name: &str) -> Vec<String> {
        let name = name.to_lowercase();
        let mut scored: Vec<(f64, &str)> = self
            .entries
            .iter()
            .map(|e| (strsim::jaro_winkler(&name, &e.name), e.name.as_str()))
            .filter(|(score, _)| *score > 0.85)
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        scored.into_iter().take(3).map(|(_, n)| n.to_owned()).collect()
    }
}

fn toml_files(dir: &Path) -> Result<Vec<PathBuf>, CatalogError> {
    let read = |source| CatalogError::Read { path: dir.to_owned(), source };
    let mut paths = Vec::new();
    for item in std::fs::read_dir(dir).map_err(read)? {
        let path = item.map_err(read)?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_bounded(path: &Path) -> Result<String, CatalogError> {
    let read = |source| CatalogError::Read { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(read)?.len();
    if length > MAX_FILE_BYTES {
        let why = format!("{length} bytes, the limit is {MAX_FILE_BYTES}");
        return Err(CatalogError::Invalid { file: path.display().to_string(), why });
    }
    std::fs::read_to_string(path).map_err(read)
}

fn parse(file: &str, text: &str) -> Result<Vec<Entry>, CatalogError> {
    let invalid = |why: String| CatalogError::Invalid { file: file.to_owned(), why };
    let parsed: File = toml::from_str(text).map_err(|e| invalid(e.message().to_owned()))?;
    let mut names = BTreeSet::new();
    for entry in &parsed.model {
        check(entry).map_err(|why| invalid(format!("model `{}`: {why}", entry.name)))?;
        if !names.insert(&entry.name) {
            return Err(invalid(format!("model `{}` appears twice", entry.name)));
        }
    }
    Ok(parsed.model)
}

/// Names become directories, hashes and members become trust: only the plain forms pass.
fn check(entry: &Entry) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    if entry.name.is_empty() || entry.name.starts_with('.') || !entry.name.chars().all(plain) {
        return Err("its name must be lower-case letters, digits, `-`, `.`, `_`".into());
    }
    match (&entry.shape, &entry.graph) {
        (Some(shape), None) => {
            shape.check()?;
            if !build::is_known(&shape.architecture) {
                return Err(format!("architecture `{}` is not known", shape.architecture));
            }
        }
        (None, Some(_)) => {}
        _ => return Err("it needs either a shape or a graph".into()),
    }
    let hash = |h: &str| h.len() == 64 && h.bytes().all(|b| b"0123456789abcdef".contains(&b));
    for package in &entry.package {
        if !hash(&package.sha256) {
            return Err("a package's sha256 must be 64 lower-case hex digits".into());
        }
        if package.members.is_empty() {
            return Err("a package needs members".into());
        }
    }
    if entry.hub.iter().filter_map(|h| h.sha256.as_deref()).any(|h| !hash(h)) {
        return Err("a hub file's sha256 must be 64 lower-case hex digits".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{build, stored_as};
    use crate::model::{Attention, ModelKind, Precision};

    fn catalog() -> Catalog {
        Catalog::load_with(None).unwrap()
    }

    #[test]
    fn every_file_of_the_directory_is_in_the_binary() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/models");
        let on_disk: BTreeSet<String> = toml_files(&dir)
            .unwrap()
            .iter()
            .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        let embedded: BTreeSet<String> = FILES.iter().map(|(f, _)| (*f).to_owned()).collect();
        assert_eq!(on_disk, embedded);
    }

    #[test]
    fn every_shape_adds_up_to_the_published_parameter_count() {
        let mut wrong = Vec::new();
        for entry in catalog().entries() {
            let spec = build(entry);
            let off = spec.parameters as f64 / entry.parameters as f64 - 1.0;
            // A count published in billions is rounded; an exact one must match within 0.2 %.
            let exact = !entry.parameters.is_multiple_of(1_000_000);
            if off.abs() > if exact { 0.002 } else { 0.015 } {
                wrong.push(format!("{}: {} ({:+.2} %)", entry.name, spec.parameters, off * 100.0));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Commands of frameworks that convert the original weights need it.
    #[test]
    fn language_models_name_the_repository_of_their_weights() {
        let catalog = catalog();
        let llms = catalog.entries().iter().filter(|e| e.kind == ModelKind::Llm);
        for entry in llms {
            let name = entry.original().unwrap_or_default();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
            let good = name.ends_with(char::is_alphanumeric) && name.chars().all(plain);
            assert!(good && !name.contains("GGUF"), "{}: `{name}`", entry.name);
        }
    }

    /// Numbers of tensors that llama.cpp counted in these models' files.
    #[test]
    fn shapes_have_as_many_tensors_as_the_files() {
        let catalog = catalog();
        for (name, tensors) in [
            ("gemma-4-e2b", 601),
            ("gemma-4-e4b", 720),
            ("gemma-4-12b", 667),
            ("gemma-4-26b-a4b", 658),
            ("gemma-4-31b", 833),
            ("glm-4.7-flash", 844),
            ("granite-4.0-h-small", 666),
            ("nemotron-3-nano-4b", 263),
            ("qwen3.5-0.8b", 320),
            ("qwen3.5-4b", 426),
            ("qwen3.5-27b", 851),
            ("qwen3.5-35b-a3b", 733),
            ("qwen3.5-122b-a10b", 879),
        ] {
            assert_eq!(build(catalog.get(name).unwrap()).tensors.len(), tensors, "{name}");
        }
    }

    /// Bytes of published files beside what the planner makes of the shape and llama.cpp's mixture.
    #[test]
    fn planned_files_are_as_large_as_the_published_ones() {
        use Precision as P;
        let catalog = catalog();
        for (name, precision, bytes) in [
            ("qwen3.5-0.8b", P::Q8_0, 811_843_840),
            ("qwen3.5-0.8b", P::Q6_K, 639_029_504),
            ("qwen3.5-0.8b", P::Q5_K_M, 590_057_728),
            ("qwen3.5-0.8b", P::Q4_K_M, 532_517_120),
            ("qwen3.5-0.8b", P::Q3_K_M, 470_167_808),
            ("qwen3.5-4b", P::Q8_0, 4_482_403_488u64),
            ("qwen3.5-4b", P::Q6_K, 3_525_956_768),
            ("qwen3.5-4b", P::Q5_K_M, 3_143_656_608),
            ("qwen3.5-4b", P::Q4_K_M, 2_740_937_888),
            ("qwen3.5-4b", P::Q4_0, 2_583_221_408),
            ("qwen3.5-4b", P::Q3_K_M, 2_293_388_448),
            ("qwen3.5-9b", P::Q4_K_M, 5_680_522_464),
            ("qwen3.5-27b", P::Q8_0, 28_595_763_104),
            ("qwen3.5-27b", P::Q6_K, 22_453_933_984),
            ("qwen3.5-27b", P::Q5_K_M, 19_608_995_744),
            ("qwen3.5-27b", P::Q4_K_M, 16_740_812_704),
            ("qwen3.5-27b", P::Q3_K_M, 13_505_116_064),
            ("qwen3.5-35b-a3b", P::Q8_0, 36_903_139_968),
            ("qwen3.5-35b-a3b", P::Q6_K, 28_852_861_568),
            ("qwen3.5-35b-a3b", P::Q4_K_M, 22_016_023_168),
            // 4.95 GiB as llama.cpp rounds it.
            ("gemma-4-e4b", P::Q4_K_M, 5_320_000_000),
            ("lfm2.5-350m", P::Q4_K_M, 229_312_224),
            ("lfm2-8b-a1b", P::Q4_K_M, 5_044_779_712),
            ("granite-4.1-3b", P::Q4_K_M, 2_099_502_400),
            ("nemotron-3-nano-4b", P::Q4_K_M, 2_837_072_896),
        ] {
            let spec = build(catalog.get(name).unwrap());
            let stored = stored_as(&spec, precision).unwrap();
            let planned: u64 = stored.iter().map(|(_, bytes)| bytes).sum();
            // Their headers hold up to 11 MB of tokens, and Unsloth keeps some tensors of a layer in more bits.
            let share = planned as f64 / bytes as f64;
            assert!((0.96..1.0).contains(&share), "{name} {precision}: {share:.4}");
        }
    }

    #[test]
    fn the_catalogue_spans_kinds_and_sizes() {
        let catalog = catalog();
        let of = |k: ModelKind| catalog.entries().iter().filter(|e| e.kind == k).count();
        assert!(of(ModelKind::Llm) >= 60 && of(ModelKind::Embedding) >= 10);
        assert!(of(ModelKind::Vision) >= 8 && of(ModelKind::Speech) >= 6);
        let names: BTreeSet<&str> = catalog.entries().iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names.len(), catalog.entries().len(), "names are unique across files");
    }

    fn kv_gib(name: &str, context: u64) -> f64 {
        let catalog = catalog();
        let spec = build(catalog.get(name).unwrap());
        let elements: u64 = spec
            .layers
            .iter()
            .map(|l| match *l {
                Attention::Gqa { kv_heads, key_dim, value_dim, window, shared: false, .. } => {
                    let kept = window.map_or(context, |w| context.min(w.into()));
                    kept * u64::from(kv_heads * (key_dim + value_dim))
                }
                Attention::Mla { kv_lora_rank, rope_dim, .. } => {
                    context * u64::from(kv_lora_rank + rope_dim)
                }
                _ => 0,
            })
            .sum();
        (elements * 2) as f64 / f64::from(1 << 30)
    }

    #[test]
    fn the_cache_of_known_models_has_its_known_size() {
        for (name, gib) in [
            ("gemma-3-27b", 10.4),
            ("deepseek-v3.1", 8.6),
            ("gpt-oss-20b", 3.0),
            ("llama-3.1-8b", 16.0),
        ] {
            let got = kv_gib(name, 131_072);
            assert!((got - gib).abs() < 0.05, "{name}: {got:.2} GiB, expected {gib}");
        }
    }

    #[test]
    fn active_parameters_of_experts_are_the_published_ones() {
        for (name, billions) in [
            ("mixtral-8x7b", 12.9),
            ("qwen3-30b-a3b", 3.3),
            ("gpt-oss-20b", 3.6),
            ("gpt-oss-120b", 5.1),
            ("deepseek-v3.1", 37.0),
            ("olmoe-1b-7b", 1.3),
        ] {
            let catalog = catalog();
            let spec = build(catalog.get(name).unwrap());
            // Vendors count the output head but not always the embedding table.
            let with = spec.active_parameters as f64 / 1e9;
            let table = u64::from(spec.hidden) * u64::from(spec.vocabulary);
            let without = with - table as f64 / 1e9;
            let near = |v: f64| (v / billions - 1.0).abs() < 0.04;
            assert!(near(with) || near(without), "{name}: {with:.2} / {without:.2} of {billions}");
        }
    }

    #[test]
    fn a_directory_replaces_and_adds_entries() {
        let dir = tempfile::TempDir::new().unwrap();
        let text = r#"
            [[model]]
            name = "resnet50"
            title = "Mine"
            kind = "vision"
            licence = "MIT"
            parameters = 5
            source = "here"
            graph = { input = [1] }
            [[model]]
            name = "new"
            title = "New"
            kind = "llm"
            licence = "MIT"
            parameters = 5
            source = "here"
            graph = { input = [1] }
        "#;
        std::fs::write(dir.path().join("a.toml"), text).unwrap();
        let loaded = Catalog::load_with(Some(dir.path())).unwrap();
        assert_eq!(loaded.get("resnet50").unwrap().title, "Mine");
        assert_eq!(loaded.get("NEW").unwrap().title, "New");
        assert_eq!(loaded.entries().len(), catalog().entries().len() + 1);
    }

    #[test]
    fn a_wrong_entry_is_named_with_what_is_wrong() {
        let base = r#"title = "x"
            kind = "llm"
            licence = "MIT"
            parameters = 5
            source = "x"
        "#;
        let cases = [
            ("name = \"../x\"\ngraph = { input = [] }", "its name must be"),
            ("name = \"x\"", "either a shape or a graph"),
            ("name = \"x\"\nshape = { architecture = \"llama\" }", "shape.layers is missing"),
            (
                "name = \"x\"\nshape = { architecture = \"no\", layers = 1, hidden = 1, heads = 1 }",
                "architecture `no` is not known",
            ),
            ("name = \"x\"\nsize = 3\ngraph = { input = [] }", "unknown field `size`"),
        ];
        for (rest, want) in cases {
            let error = parse("f.toml", &format!("[[model]]\n{base}{rest}")).unwrap_err();
            assert!(error.to_string().contains(want), "{want:?} in {error}");
        }
    }

    #[test]
    fn an_unknown_name_gets_the_closest_ones() {
        let error = catalog().get("smollm2-135").unwrap_err();
        assert!(error.hint().contains("smollm2-135m"), "{}", error.hint());
    }
}
