//! Which profile a live device is. A laptop part is never its desktop namesake, a near miss is said to be one.

use super::library::{Library, ProfileError};
use super::schema::Profile;
use crate::model::{Device, Fact, Processor, ProcessorKind};

/// A live device's profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    pub id: String,
    /// False where only most of the name agrees.
    pub exact: bool,
    /// What agrees and what does not.
    pub why: String,
}

/// Words that say nothing about which part it is.
const NOISE: &[&str] = &[
    "nvidia",
    "geforce",
    "amd",
    "radeon",
    "intel",
    "r",
    "tm",
    "graphics",
    "gpu",
    "cpu",
    "processor",
    "core",
    "cores",
    "series",
    "with",
    "apple",
    "the",
    "edition",
    "corporation",
    "inc",
    "generation",
    "model",
    "b",
    "rev",
];

fn best_match(device: &Device, profiles: &[Profile]) -> Option<Match> {
    let gpu = device
        .processors
        .iter()
        .filter(|p| p.kind == ProcessorKind::DiscreteGpu)
        .max_by_key(|p| p.memory_bytes.as_ref().map_or(0, |m| m.value));
    if let Some(gpu) = gpu {
        return match_processor(gpu, profiles);
    }
    let named = profiles.iter().filter(|p| p.cpu.is_some());
    let names = [Some(device.name.as_str()), device.cpu_processor().map(|p| p.name.as_str())];
    named
        .flat_map(|p| names.iter().flatten().filter_map(move |n| whole_device(p, n)))
        .max_by_key(|m| m.exact)
}

/// A whole device by its board or CPU name; `/` in a profile's name separates parts that share it.
fn whole_device(profile: &Profile, live: &str) -> Option<Match> {
    let live_words = words(live);
    let cpu = profile.cpu.as_ref().map(|c| c.name.as_str()).unwrap_or_default();
    let name = profile.name.split('(').next().unwrap_or_default();
    name.split('/').chain([cpu]).find_map(|alias| {
        let wanted = words(alias);
        let telling = wanted.iter().any(|w| w.chars().any(|c| c.is_ascii_digit()));
        if !telling || wanted.len() < 2 || !wanted.iter().all(|w| live_words.contains(w)) {
            return None;
        }
        let extra: Vec<&str> = live_words
            .iter()
            .filter(|w| !wanted.contains(w) && distinguishing(w))
            .map(String::as_str)
            .collect();
        let exact = extra.is_empty();
        let why = if exact {
            format!("`{live}` is `{}`", alias.trim())
        } else {
            format!("`{live}` resembles `{}` but also says {}", alias.trim(), extra.join(" "))
        };
        Some(Match { id: profile.id.clone(), exact, why })
    })
}

/// A graphics card: the same words, the same side of laptop and desktop, the same memory.
fn match_processor(gpu: &Processor, profiles: &[Profile]) -> Option<Match> {
    let live = words(&gpu.name);
    let mobile = is_mobile(&gpu.name);
    let memory = gpu.memory_bytes.as_ref().map(|m| m.value as f64 / (1u64 << 30) as f64);
    let mut best: Option<(usize, Match)> = None;
    for p in profiles {
        for part in p.processors.iter().filter(|x| x.kind == gpu.kind) {
            let wanted: Vec<String> = words(&part.name);
            if wanted.is_empty() || is_mobile(&part.name) != mobile {
                continue;
            }
            let core: Vec<&String> = wanted.iter().filter(|w| !is_size(w)).collect();
            if !core.iter().all(|w| live.contains(w)) {
                continue;
            }
            let extra = live.iter().filter(|w| !core.contains(w) && !is_size(w)).count();
            let same_memory = match (memory, part.memory_gb) {
                (Some(a), Some(b)) => (a - b).abs() <= 0.1 * b,
                _ => true,
            };
            let exact = extra == 0 && same_memory;
            let why = if exact {
                format!("`{}` is `{}`", gpu.name, part.name)
            } else if extra > 0 {
                format!("`{}` resembles `{}`", gpu.name, part.name)
            } else {
                format!("`{}` has another memory size than `{}`", gpu.name, part.name)
            };
            let score = core.len() * 4 + usize::from(same_memory) * 2 + usize::from(extra == 0) * 3;
            if best.as_ref().is_none_or(|(s, _)| score > *s) {
                best = Some((score, Match { id: p.id.clone(), exact, why }));
            }
        }
    }
    best.map(|(_, m)| m)
}

/// Finds the profile of a live device, by its strongest processor, then by its own name; notes which profile each
/// processor is exactly, and fills what the probe could not read of it (bandwidth, rates).
///
/// A CPU is its profile's where this process may use all of its cores: public rows are of the whole chip.
///
/// # Errors
/// The profile directory cannot be read.
pub fn identify(device: &mut Device, library: &Library) -> Result<Option<Match>, ProfileError> {
    let profiles = library.all()?;
    let found = best_match(device, &profiles);
    let cores = device.cpu.performance_cores + device.cpu.efficiency_cores;
    let whole = |p: &&Profile| {
        p.cpu.as_ref().is_some_and(|c| c.performance_cores + c.efficiency_cores == cores)
    };
    let board = device.name.clone();
    let of_cpu = |name: &str| {
        let named = |p| [name, &board].into_iter().find_map(|n| whole_device(p, n));
        profiles.iter().filter(whole).filter_map(named).find(|m| m.exact)
    };
    for p in &mut device.processors {
        let found = match p.kind {
            ProcessorKind::Cpu => of_cpu(&p.name),
            _ => match_processor(p, &profiles).filter(|m| m.exact),
        };
        let Some(profile) = found.and_then(|m| profiles.iter().find(|x| x.id == m.id)) else {
            continue;
        };
        p.profile.clone_from(&profile.id);
        let Some(part) = profile.processors.iter().find(|x| x.kind == p.kind) else { continue };
        let from = format!("profile {}: {}", profile.id, profile.source);
        let fill = |slot: &mut Option<Fact<f64>>, value: Option<f64>| {
            if slot.is_none() {
                *slot = value.map(|v| Fact::published(v, from.clone()));
            }
        };
        fill(&mut p.bandwidth_gbs, part.bandwidth_gbs);
        fill(&mut p.fp32_tflops, part.fp32_tflops);
        fill(&mut p.fp16_tflops, part.fp16_tflops);
        fill(&mut p.int8_tops, part.int8_tops);
        fill(&mut p.power_w, part.tdp_w);
    }
    Ok(found)
}

fn words(name: &str) -> Vec<String> {
    let lower = name.to_lowercase().replace("(r)", " ").replace("(tm)", " ");
    let mut out: Vec<String> = lower
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '+')
        .filter(|w| !w.is_empty() && !NOISE.contains(w) && !["laptop", "mobile"].contains(w))
        .map(str::to_owned)
        .collect();
    out.dedup();
    out
}

/// `laptop GPU`, `Mobile`, `Max-Q` and the `M` suffix mark a part for laptops.
fn is_mobile(name: &str) -> bool {
    let lower = name.to_lowercase();
    lower.contains("laptop")
        || lower.contains("mobile")
        || lower.split(|c: char| !c.is_ascii_alphanumeric()).any(|w| {
            w.len() >= 4
                && w.ends_with('m')
                && w[..w.len() - 1].ends_with(|c: char| c.is_ascii_digit())
        })
}

/// `12`, `gb`, `24gb`: sizes are compared as numbers, not as words.
fn is_size(w: &str) -> bool {
    w == "gb"
        || w.strip_suffix("gb").unwrap_or(w).parse::<u32>().is_ok_and(|n| n <= 192 && n % 2 == 0)
}

/// Words that tell one part from another: `ti`, `max`, `pro`, anything with a digit that is no clock or core count.
fn distinguishing(w: &str) -> bool {
    ["ti", "super", "max", "pro", "ultra", "plus", "lite", "mini", "xt", "xtx", "zero", "compute"]
        .contains(&w)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Overrides;

    fn live_gpu(name: &str, gib: u64) -> Device {
        let mut d = Library::default().load("rtx-4090").unwrap().device(&Overrides::default());
        d.processors[1].profile.clear();
        d.processors[1].name = name.to_owned();
        d.processors[1].memory_bytes = Some(Fact::measured(gib << 30));
        d
    }

    fn id_of(device: &Device) -> Option<(String, bool)> {
        identify(&mut device.clone(), &Library::default()).unwrap().map(|m| (m.id, m.exact))
    }

    #[test]
    fn a_laptop_part_is_never_its_desktop_namesake() {
        let found = id_of(&live_gpu("NVIDIA GeForce RTX 4090 Laptop GPU", 16)).unwrap();
        assert_eq!(found, ("rtx-4090-mobile".to_owned(), true));
        assert_eq!(id_of(&live_gpu("NVIDIA GeForce RTX 4090", 24)).unwrap().0, "rtx-4090");
    }

    #[test]
    fn variants_that_share_a_name_are_told_apart_by_suffix_and_memory() {
        let of = |name, gib| id_of(&live_gpu(name, gib)).unwrap();
        assert_eq!(of("NVIDIA GeForce RTX 4060 Ti", 16).0, "rtx-4060-ti-16-gb");
        assert_eq!(of("NVIDIA GeForce RTX 4060 Ti", 8).0, "rtx-4060-ti-8-gb");
        assert_eq!(of("NVIDIA GeForce RTX 4070 Ti SUPER", 16), ("rtx-4070-ti-super".into(), true));
        assert_eq!(of("NVIDIA GeForce RTX 4070 SUPER", 12).0, "rtx-4070-super");
    }

    #[test]
    fn a_board_is_found_by_its_model_name() {
        let mut d = Library::default().load("rpi-5").unwrap().device(&Overrides::default());
        d.name = "Raspberry Pi 5 Model B Rev 1.0".to_owned();
        d.processors.truncate(1);
        d.processors[0].name = "Cortex-A76".to_owned();
        assert_eq!(id_of(&d), Some(("rpi-5".to_owned(), true)));
        d.name = "Raspberry Pi 3 Model B Plus".to_owned();
        assert_ne!(id_of(&d).map(|m| m.0).as_deref(), Some("rpi-5"));
    }

    #[test]
    fn missing_bandwidth_is_filled_from_an_exact_match_only() {
        let mut d = live_gpu("NVIDIA GeForce RTX 4090", 24);
        d.processors[1].bandwidth_gbs = None;
        identify(&mut d, &Library::default()).unwrap();
        assert_eq!(d.processors[1].bandwidth_gbs.as_ref().unwrap().value, 1010.0);
        assert_eq!(d.processors[1].profile, "rtx-4090");
        let mut d = live_gpu("NVIDIA GeForce RTX 4090 Foo", 24);
        d.processors[1].bandwidth_gbs = None;
        identify(&mut d, &Library::default()).unwrap();
        assert!(d.processors[1].bandwidth_gbs.is_none());
        assert!(d.processors[1].profile.is_empty());
    }

    #[test]
    fn a_part_of_a_chip_is_not_the_chip() {
        let library = Library::default();
        let profile = |allowed: u32| {
            let mut d = library.load("ryzen-9-7950x").unwrap().device(&Overrides::default());
            d.processors[0].profile.clear();
            d.cpu.performance_cores = allowed;
            identify(&mut d, &library).unwrap();
            d.processors[0].profile.clone()
        };
        assert_eq!((profile(16).as_str(), profile(2).as_str()), ("ryzen-9-7950x", ""));
    }
}
