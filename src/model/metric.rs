//! What a case can yield, with unit and direction: one row of a table a metric.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Higher,
    Lower,
}

/// The unit a metric's samples are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    TokensPerSecond,
    PerSecond,
    Nanoseconds,
    Bytes,
    Joules,
    Ratio,
    Nats,
    /// A plain number with no unit (perplexity, dB are named by their metric).
    One,
}

impl Unit {
    pub fn symbol(self) -> &'static str {
        match self {
            Unit::TokensPerSecond => "tok/s",
            Unit::PerSecond => "1/s",
            Unit::Nanoseconds => "ns",
            Unit::Bytes => "B",
            Unit::Joules => "J",
            Unit::Ratio | Unit::One => "",
            Unit::Nats => "nat",
        }
    }
}

macro_rules! metrics {
    ($($variant:ident, $key:literal, $title:literal, $unit:ident, $dir:ident, $per_run:literal;)*) => {
        /// A measured quantity. The key is stable: it is what records, policies and CSV use.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric { $($variant),* }

        impl Metric {
            pub const ALL: &'static [Metric] = &[$(Metric::$variant),*];
            pub fn key(self) -> &'static str {
                match self { $(Metric::$variant => $key),* }
            }
            /// Short title for a table's head.
            pub fn title(self) -> &'static str {
                match self { $(Metric::$variant => $title),* }
            }
            pub fn unit(self) -> Unit {
                match self { $(Metric::$variant => Unit::$unit),* }
            }
            pub fn direction(self) -> Direction {
                match self { $(Metric::$variant => Direction::$dir),* }
            }
            /// True where one process run yields one value (memory, load), not many samples.
            pub fn once_per_run(self) -> bool {
                match self { $(Metric::$variant => $per_run),* }
            }
        }
    };
}

metrics! {
    PrefillTokS, "prefill_tok_s", "Prefill", TokensPerSecond, Higher, false;
    DecodeTokS, "decode_tok_s", "Decode", TokensPerSecond, Higher, false;
    TtftNs, "ttft_ns", "TTFT", Nanoseconds, Lower, false;
    LatencyNs, "latency_ns", "Latency", Nanoseconds, Lower, false;
    ThroughputPerS, "throughput_per_s", "Throughput", PerSecond, Higher, false;
    LoadNs, "load_ns", "Load", Nanoseconds, Lower, true;
    LoadColdNs, "load_cold_ns", "Load (cold)", Nanoseconds, Lower, true;
    PeakRssBytes, "peak_rss_bytes", "Peak RSS", Bytes, Lower, true;
    WeightBytes, "weight_bytes", "Weights", Bytes, Lower, true;
    KvCacheBytes, "kv_cache_bytes", "KV cache", Bytes, Lower, true;
    ComputeBufferBytes, "compute_buffer_bytes", "Compute buffers", Bytes, Lower, true;
    DeviceMemoryBytes, "device_memory_bytes", "Device memory", Bytes, Lower, true;
    CpuTimeNs, "cpu_time_ns", "CPU time", Nanoseconds, Lower, true;
    SustainedRatio, "sustained_ratio", "Sustained", Ratio, Higher, true;
    EnergyPerTokenJ, "energy_per_token_j", "Energy/token", Joules, Lower, false;
    PrefillEnergyPerTokenJ, "prefill_energy_per_token_j", "Prefill energy/token", Joules, Lower, false;
    EnergyPerInferenceJ, "energy_per_inference_j", "Energy/inference", Joules, Lower, false;
    KlDivergence, "kl_divergence", "KLD", Nats, Lower, false;
    Top1Agreement, "top1_agreement", "Top-1", Ratio, Higher, false;
    TokenProbDelta, "token_prob_delta", "dp", Ratio, Higher, false;
    Perplexity, "perplexity", "PPL", One, Lower, false;
    PerplexityRatio, "perplexity_ratio", "PPL ratio", Ratio, Lower, false;
    CosineToReference, "cosine_to_reference", "Cosine", Ratio, Higher, false;
    RankAgreement, "rank_agreement", "Rank agreement", Ratio, Higher, false;
    Top5Agreement, "top5_agreement", "Top-5", Ratio, Higher, false;
    OutputSnrDb, "output_snr_db", "SNR dB", One, Higher, false;
}

impl Metric {
    /// True for how close the answers are to a reference: all that a simulator can tell.
    pub fn is_quality(self) -> bool {
        use Metric as M;
        matches!(
            self,
            M::KlDivergence
                | M::Top1Agreement
                | M::TokenProbDelta
                | M::Perplexity
                | M::PerplexityRatio
                | M::CosineToReference
                | M::RankAgreement
                | M::Top5Agreement
                | M::OutputSnrDb
        )
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.key())
    }
}

/// The key is not one of [`Metric::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown metric `{0}`")]
pub struct UnknownMetric(pub String);

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Metric::ALL
            .iter()
            .copied()
            .find(|m| m.key() == s)
            .ok_or_else(|| UnknownMetric(s.to_owned()))
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.key())
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let key = std::borrow::Cow::<'de, str>::deserialize(d)?;
        key.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_round_trip() {
        let keys: std::collections::BTreeSet<_> = Metric::ALL.iter().map(|m| m.key()).collect();
        assert_eq!(keys.len(), Metric::ALL.len());
        for &m in Metric::ALL {
            assert_eq!(m.key().parse(), Ok(m));
        }
    }
}
