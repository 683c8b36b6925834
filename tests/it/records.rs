//! Builds records for tests: what a bench would have written, without a bench.

use std::path::{Path, PathBuf};

use edge_advisor::model::{Case, CaseOutcome, Metric, Precision, Workload};
use edge_advisor::record::{CaseRecord, RunEnd, RunHeader, RunRecord, Series};
use serde_json::json;

/// 2026-01-01T00:00:00Z plus seconds.
pub fn at(seconds: u32) -> String {
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("2026-01-{:02}T{:02}:{m:02}:{s:02}Z", 1 + h / 24, h % 24)
}

pub fn header(run_id: &str, seconds: u32) -> RunHeader {
    let header = json!({
        "schema_version": 1,
        "run_id": run_id,
        "created": at(seconds),
        "build": {"version": "0.1.0", "profile": "release", "target": "x86_64", "compiled_isa": []},
        "command": ["edge-advisor", "bench"],
        "suite": "test",
        "seed": 7,
        "quick": false,
        "protocol": {},
        "device": {
            "id": "fp-test", "name": "Test board", "class": "sbc", "os": "linux",
            "cpu": {"arch": "aarch64", "performance_cores": 4, "efficiency_cores": 0, "threads": 4, "isa": []},
            "limits": {"memory_bytes": 8_000_000_000u64, "memory_available_bytes": 6_000_000_000u64, "cpus": 4.0},
            "processors": [],
        },
    });
    serde_json::from_value(header).expect("the header's fields")
}

pub fn case(precision: Precision) -> Case {
    Case {
        model: "m".into(),
        precision,
        backend: "candle".into(),
        device: "cpu".into(),
        workload: Workload::Generate { prompt: 512, decode: 128, depth: 0 },
        threads: 4,
        options: Default::default(),
    }
}

/// A run under construction.
pub struct Run {
    pub record: RunRecord,
    clock: u32,
}

impl Run {
    /// Starts a run at a second of the test day.
    pub fn new(run_id: &str, seconds: u32) -> Self {
        let record = RunRecord {
            header: header(run_id, seconds),
            cases: vec![],
            end: None,
            truncated: false,
        };
        Self { record, clock: seconds }
    }

    /// Adds a completed case of process run `run`.
    pub fn measured(mut self, case: Case, run: u32, series: &[(Metric, &[f64])]) -> Self {
        let series = series
            .iter()
            .map(|(metric, samples)| Series {
                metric: *metric,
                warmup: vec![],
                samples: samples.to_vec(),
            })
            .collect();
        self.push(case, run, CaseOutcome::Completed, series);
        self
    }

    fn push(&mut self, case: Case, run: u32, outcome: CaseOutcome, series: Vec<Series>) {
        self.clock += 10;
        let order = self.record.cases.len() as u32;
        let record = CaseRecord::new(case, at(self.clock));
        self.record.cases.push(CaseRecord { run, order, outcome, series, wall_s: 9.0, ..record });
    }

    pub fn done(mut self) -> RunRecord {
        self.record.end = Some(RunEnd {
            finished: at(self.clock + 10),
            interrupted: false,
            noise_before: None,
            noise_after: None,
        });
        self.record
    }
}

/// Writes a record as a run directory below `dir` and returns its path.
pub fn write(dir: &Path, record: &RunRecord) -> PathBuf {
    let path = dir.join(&record.header.run_id);
    std::fs::create_dir_all(&path).expect("a directory");
    let text = record.to_ndjson().expect("a record as text");
    std::fs::write(path.join("record.ndjson"), text).expect("a file");
    path
}

/// Every sample of time or speed made worse: `factor` 1.2 is 20 % slower.
pub fn slower(record: &RunRecord, factor: f64) -> RunRecord {
    let mut record = record.clone();
    for series in record.cases.iter_mut().flat_map(|c| &mut c.series) {
        let factor = match series.metric {
            Metric::DecodeTokS | Metric::PrefillTokS => 1.0 / factor,
            Metric::TtftNs | Metric::LatencyNs => factor,
            _ => 1.0,
        };
        series.samples.iter_mut().for_each(|v| *v *= factor);
    }
    record
}

/// Numbers that look like noise around 1 with the given spread, the same on every machine.
pub fn noisy(seed: u32, n: usize, spread: f64) -> Vec<f64> {
    let mut state = u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..n)
        .map(|_| {
            let normal: f64 = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
            1.0 + spread * normal
        })
        .collect()
}
