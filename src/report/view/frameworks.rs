//! What the field says of each framework, from `profiles/frameworks` and the backend registry.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::backend;
use crate::model::{Device, Precision};

/// The parsed data file.
pub(crate) static FIELD: LazyLock<Field> = LazyLock::new(|| {
    toml::from_str(include_str!("../../../profiles/frameworks/frameworks.toml"))
        .expect("profiles/frameworks/frameworks.toml is checked by a test")
});

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    pub claims_source: String,
    pub framework: Vec<Framework>,
    pub requirement: Vec<Requirement>,
    pub platform: Vec<Platform>,
    pub quantization: Vec<SizeClaim>,
    #[serde(rename = "use")]
    pub uses: Vec<Use>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Framework {
    pub id: String,
    pub name: String,
    pub use_case: String,
    pub ratings: BTreeMap<String, String>,
    pub claim: Option<Claim>,
    #[serde(default)]
    pub hints: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claim {
    /// Precision names or prefixes of them, separated by commas, slashes or spaces.
    pub about: String,
    pub memory_percent: Option<[f64; 2]>,
    #[serde(default)]
    pub memory_text: String,
    pub speedup: [f64; 2],
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requirement {
    pub key: String,
    pub title: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Platform {
    pub title: String,
    pub when: When,
    pub primary: String,
    pub secondary: String,
    #[serde(default)]
    pub correction: String,
}

/// All given lists must hold; the vendor and the API of one and the same processor.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct When {
    vendor: Vec<String>,
    api: Vec<crate::model::ComputeApi>,
    cpu_arch: Vec<String>,
    class: Vec<crate::model::DeviceClass>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SizeClaim {
    pub precision: Precision,
    pub size_percent: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Use {
    pub precisions: Vec<Precision>,
    pub text: String,
}

impl Claim {
    /// Whether the claim is about this precision: `INT4` covers `INT4_SYM_G64`.
    pub(crate) fn covers(&self, precision: Precision) -> bool {
        let name = precision.name();
        self.about
            .split(|c: char| c == ',' || c == '/' || c.is_whitespace())
            .map(|token| token.replace('-', "").to_uppercase())
            .filter(|token| !token.is_empty())
            .any(|token| {
                name.strip_prefix(token.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
            })
    }

    /// `Q4_K_M: ~4 GB, 2-3x`.
    pub(crate) fn text(&self) -> String {
        let memory = match self.memory_percent {
            Some([low, high]) => format!("{low:.0}-{high:.0} % less memory"),
            None => self.memory_text.clone(),
        };
        let [low, high] = self.speedup;
        let comma = if memory.is_empty() { "" } else { ", " };
        format!("{}: {memory}{comma}{low:.0}-{high:.0}x", self.about)
    }
}

impl When {
    fn holds(&self, device: &Device) -> bool {
        let one_of = |list: &[String], value: &str| {
            list.is_empty() || list.iter().any(|v| value.eq_ignore_ascii_case(v))
        };
        let vendor_of = |list: &[String], value: &str| {
            list.is_empty() || list.iter().any(|v| value.to_lowercase().contains(v.as_str()))
        };
        one_of(&self.cpu_arch, &device.cpu.arch)
            && (self.class.is_empty() || self.class.contains(&device.class))
            && device.processors.iter().any(|p| {
                vendor_of(&self.vendor, &p.vendor)
                    && (self.api.is_empty() || self.api.iter().any(|a| p.apis.contains(a)))
            })
    }
}

impl Field {
    /// Index of the platform row a device belongs to.
    pub(crate) fn platform_of(&self, device: &Device) -> Option<usize> {
        self.platform.iter().position(|p| p.when.holds(device))
    }

    pub(crate) fn size_claim(&self, precision: Precision) -> Option<f64> {
        self.quantization.iter().find(|q| q.precision == precision).map(|q| q.size_percent)
    }

    pub(crate) fn use_of(&self, precision: Precision) -> &str {
        self.uses.iter().find(|u| u.precisions.contains(&precision)).map_or("", |u| &u.text)
    }

    /// A framework by backend id. What the registry says wins; a backend nobody describes has its id as name.
    pub(crate) fn framework(&self, id: &str) -> Framework {
        let data = self.framework.iter().find(|f| f.id == id).cloned();
        let mut found = data.unwrap_or_else(|| Framework {
            id: id.to_owned(),
            name: id.to_owned(),
            use_case: String::new(),
            ratings: BTreeMap::new(),
            claim: None,
            hints: Vec::new(),
        });
        if let Some(info) = backend::find(id).map(backend::Backend::info) {
            found.name = info.framework.to_owned();
            found.use_case = info.use_case.to_owned();
            if let Some(claim) = info.claim {
                let memory_text = found.claim.map(|c| c.memory_text).unwrap_or_default();
                let (low, high) = claim.memory_percent;
                found.claim = Some(Claim {
                    about: claim.about.to_owned(),
                    memory_percent: Some([low, high]),
                    memory_text,
                    speedup: [claim.speedup.0, claim.speedup.1],
                });
            }
        }
        found
    }

    /// Ids in table order: the field's six first, then others that are in the report.
    pub(crate) fn order<'a>(&'a self, present: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let mut ids: Vec<&str> = self.framework.iter().map(|f| f.id.as_str()).collect();
        let mut others: Vec<&str> = present.filter(|id| !ids.contains(id)).collect();
        others.sort_unstable();
        others.dedup();
        ids.extend(others);
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_is_complete() {
        assert_eq!(FIELD.framework.len(), 6);
        for f in &FIELD.framework {
            for r in &FIELD.requirement {
                assert!(f.ratings.contains_key(&r.key), "{} lacks {}", f.id, r.key);
            }
            assert_eq!(f.ratings.len(), FIELD.requirement.len(), "{}", f.id);
            if let Some(claim) = &f.claim {
                assert!(Precision::ALL.iter().any(|&p| claim.covers(p)), "{}", claim.about);
                assert!(claim.speedup[0] < claim.speedup[1]);
            }
        }
        for p in &FIELD.platform {
            for id in [&p.primary, &p.secondary] {
                assert!(FIELD.framework.iter().any(|f| f.id == *id), "{id}");
            }
        }
    }

    #[test]
    fn a_claim_covers_a_family_but_not_a_longer_name() {
        let claim = |about: &str| Claim {
            about: about.into(),
            memory_percent: None,
            memory_text: String::new(),
            speedup: [2.0, 3.0],
        };
        assert!(claim("INT8/INT4").covers(Precision::Int4SymG64));
        assert!(claim("INT8, INT4").covers(Precision::Int8));
        assert!(claim("4-bit").covers(Precision::MlxQ4G64));
        assert!(!claim("Q4_K_M").covers(Precision::Q4_K_S));
        assert!(!claim("Q4").covers(Precision::Q8_0));
    }
}
