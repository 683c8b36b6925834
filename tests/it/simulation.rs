//! Does the gate keep its promises? Simulated gates with known truth, judged by the real code.
//!
//! The full study is slow: `cargo test --release --test it simulation -- --ignored --nocapture` prints the table of
//! docs/statistics.md. A small part of it runs every time.

use edge_advisor::compare::{Judging, Overall, Policy, Side, Verdict, compare, looks};
use edge_advisor::model::{Metric, Precision};
use edge_advisor::record::RunRecord;
use edge_advisor::stats::{Estimate, mean_difference, median, student_upper_tail};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::records::{Run, at, case};

#[derive(Clone, Copy)]
enum Noise {
    /// The same spread between runs for every metric.
    Fixed(f64),
    /// Each metric its own, log-uniform.
    Between(f64, f64),
}

#[derive(Clone, Copy, PartialEq)]
enum Drift {
    None,
    /// Slower by so much over the whole session.
    Linear(f64),
    /// A random walk with this step a run.
    Walk(f64),
}

#[derive(Clone, Copy)]
struct World {
    metrics: usize,
    runs: usize,
    noise: Noise,
    drift: Drift,
    /// How many metrics got worse, and by how much of their speed.
    worse: usize,
    drop: f64,
    /// False: base first, then head, with a shift between the sessions.
    interleaved: bool,
}

const A_A: World = World {
    metrics: 50,
    runs: 10,
    noise: Noise::Between(0.01, 0.15),
    drift: Drift::None,
    worse: 0,
    drop: 0.0,
    interleaved: true,
};

/// Samples within a run: correlated (0.8 from one to the next), spread 2 %.
const SAMPLES: usize = 8;
const WITHIN: f64 = 0.02;
const CORRELATION: f64 = 0.8;
const SESSION: f64 = 0.01;

struct Random(Pcg64Mcg);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0.random()
    }
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// Samples by metric, side and run.
type Data = Vec<[Vec<Vec<f64>>; 2]>;

fn simulate(world: World, random: &mut Random) -> Data {
    let slots = 2 * world.runs;
    let mut walk = 0.0;
    let drift: Vec<f64> = (0..slots)
        .map(|slot| match world.drift {
            Drift::None => 0.0,
            Drift::Linear(total) => -total * slot as f64 / slots as f64,
            Drift::Walk(step) => {
                walk += step * random.normal();
                walk
            }
        })
        .collect();
    (0..world.metrics)
        .map(|m| {
            let spread = match world.noise {
                // The metric under test has the spread that the table names.
                Noise::Between(..) if m < world.worse => 0.04,
                Noise::Between(low, high) => low * (high / low).powf(random.uniform()),
                Noise::Fixed(spread) => spread,
            };
            let change = if m < world.worse { (1.0 - world.drop).ln() } else { 0.0 };
            let shift = if world.interleaved { 0.0 } else { SESSION * random.normal() };
            let mut sides = [Vec::new(), Vec::new()];
            for (slot, drift) in drift.iter().enumerate() {
                let head = is_head(world, slot);
                let own = if head { change + shift } else { 0.0 };
                let level = 3.0 + drift + own + spread * random.normal();
                sides[usize::from(head)].push(samples(level, random));
            }
            sides
        })
        .collect()
}

fn is_head(world: World, slot: usize) -> bool {
    if world.interleaved { matches!(slot % 4, 1 | 2) } else { slot >= world.runs }
}

fn samples(level: f64, random: &mut Random) -> Vec<f64> {
    let mut wave = random.normal();
    let fresh = (1.0 - CORRELATION * CORRELATION).sqrt();
    (0..SAMPLES)
        .map(|_| {
            wave = CORRELATION * wave + fresh * random.normal();
            (level + WITHIN * wave).exp()
        })
        .collect()
}

/// The first `runs` runs a side as two records, as a bench would have written them.
fn records(world: World, data: &Data, runs: usize) -> [RunRecord; 2] {
    let slots: Vec<usize> = (0..2 * world.runs).collect();
    [false, true].map(|head| {
        let mut run = Run::new(if head { "head" } else { "base" }, 0);
        let own: Vec<usize> =
            slots.iter().copied().filter(|s| is_head(world, *s) == head).take(runs).collect();
        let mut started = Vec::new();
        for (r, slot) in own.iter().enumerate() {
            for (m, sides) in data.iter().enumerate() {
                let mut case = case(Precision::Q4_0);
                case.threads = m as u32;
                let values = &sides[usize::from(head)][r];
                run = run.measured(case, r as u32, &[(Metric::DecodeTokS, values)]);
                started.push(at(100 + 60 * *slot as u32));
            }
        }
        let mut record = run.done();
        for (case, at) in record.cases.iter_mut().zip(started) {
            case.started = at;
        }
        record.end = None;
        record
    })
}

/// Whether our gate alarms, and whether it names one of the metrics that got worse.
fn ours(world: World, data: &Data, runs: usize, policy: &Policy, share: f64) -> (Overall, bool) {
    let [base, head] = records(world, data, runs);
    let side = |label, record| Side::new(label, &[record]).expect("a sound side");
    let judging = Judging::share(policy, share);
    let result = compare(&side("base", base), &side("head", head), policy, judging);
    let caught = result.rows.iter().any(|r| {
        let named = (0..world.worse).any(|m| r.subject.case().ends_with(&format!("/t{m}")));
        r.verdict == Verdict::Regressed && named
    });
    (result.overall, caught)
}

/// The gates people write first: does metric `m` alarm?
type Rival = (&'static str, fn(&[Vec<Vec<f64>>; 2]) -> bool);

const RIVALS: [Rival; 3] = [
    ("Welch, pooled samples", |sides| {
        let pooled = |runs: &[Vec<f64>]| -> Vec<f64> { runs.iter().flatten().copied().collect() };
        mean_difference(&pooled(&sides[1]), &pooled(&sides[0])).is_some_and(|e| alarms(&e))
    }),
    ("fixed 5 % threshold", |sides| {
        let middle = |runs: &[Vec<f64>]| {
            let medians: Vec<f64> = runs.iter().filter_map(|r| median(r)).collect();
            median(&medians).unwrap_or(f64::NAN)
        };
        middle(&sides[1]) < 0.95 * middle(&sides[0])
    }),
    ("Mann-Whitney on runs", |sides| {
        let medians =
            |runs: &[Vec<f64>]| -> Vec<f64> { runs.iter().filter_map(|r| median(r)).collect() };
        mann_whitney(&medians(&sides[0]), &medians(&sides[1])) < 0.05
    }),
];

fn alarms(slower_by: &Estimate) -> bool {
    2.0 * slower_by.p_above(0.0) < 0.05
}

/// Two-sided p by the normal approximation, set to 1 where head is not the slower one.
fn mann_whitney(base: &[f64], head: &[f64]) -> f64 {
    let (n, m) = (base.len() as f64, head.len() as f64);
    let wins = base.iter().map(|b| head.iter().filter(|h| b > h).count()).sum::<usize>() as f64;
    let sd = (n * m * (n + m + 1.0) / 12.0).sqrt();
    let z = (wins - n * m / 2.0 - 0.5) / sd;
    if z > 0.0 { 2.0 * student_upper_tail(z, f64::INFINITY) } else { 1.0 }
}

/// Shares of gates that alarm: ours, then the rivals. Catching means naming a metric that got worse.
fn rates(world: World, gates: usize, policy: &Policy, seed: u64) -> [f64; 4] {
    let mut random = Random(Pcg64Mcg::seed_from_u64(seed));
    let mut hits = [0usize; 4];
    for _ in 0..gates {
        let data = simulate(world, &mut random);
        let (overall, caught) = ours(world, &data, world.runs, policy, 1.0);
        let alarm = if world.worse > 0 { caught } else { overall == Overall::Regressed };
        hits[0] += usize::from(alarm);
        let watched = if world.worse > 0 { world.worse } else { world.metrics };
        for (hit, (_, rival)) in hits[1..].iter_mut().zip(RIVALS) {
            *hit += usize::from(data[..watched].iter().any(rival));
        }
    }
    hits.map(|h| h as f64 / gates as f64)
}

/// Share of sequential gates (`gate --live`) that alarm at any look.
fn live_rate(world: World, gates: usize, policy: &Policy, seed: u64) -> f64 {
    let mut random = Random(Pcg64Mcg::seed_from_u64(seed));
    let schedule = looks(6, world.runs as u32);
    let alarm = |data: &Data| {
        schedule
            .iter()
            .map(|l| ours(world, data, l.runs as usize, policy, l.share).0)
            .find(|o| *o != Overall::Inconclusive)
            == Some(Overall::Regressed)
    };
    let hits = (0..gates).filter(|_| alarm(&simulate(world, &mut random))).count();
    hits as f64 / gates as f64
}

fn limit(percent: f64) -> Policy {
    let text = format!("version = 1\n[[rule]]\nmax_regression_percent = {percent}\n");
    Policy::parse(&text).expect("a policy")
}

fn print(name: &str, gates: usize, rates: [f64; 4]) {
    let cells: Vec<String> = rates.iter().map(|r| format!("{:.1} %", r * 100.0)).collect();
    println!("| {name} | {gates} | {} |", cells.join(" | "));
}

#[test]
fn a_small_study_keeps_the_promises() {
    let policy = Policy::default();
    let quiet = World { metrics: 20, drift: Drift::Linear(0.05), ..A_A };
    let [ours, pooled, ..] = rates(quiet, 60, &policy, 1);
    assert!(ours <= 1.0 / 60.0, "A/A alarms in {:.1} % of gates", ours * 100.0);
    assert!(pooled > 0.5, "pooled samples should cry wolf, else this tests nothing: {pooled}");
    let drop = World { metrics: 20, noise: Noise::Fixed(0.04), worse: 1, drop: 0.10, ..A_A };
    let [caught, ..] = rates(drop, 40, &policy, 2);
    assert!(caught >= 0.9, "caught {:.0} %", caught * 100.0);
}

#[test]
#[ignore = "minutes; prints the table of docs/statistics.md"]
fn the_full_study_prints_its_table_and_keeps_the_promises() {
    let gates: usize = std::env::var("GATES").ok().and_then(|g| g.parse().ok()).unwrap_or(1500);
    println!("| | gates | edge-advisor | {} |", RIVALS.map(|r| r.0).join(" | "));
    println!("|---|--:|--:|--:|--:|--:|");
    let policy = Policy::default();
    // Rates that are above 1 % by more than chance.
    let mut broken = Vec::new();
    let mut promise = |name: &str, rate: f64, gates: usize| {
        let error = (0.01f64 * 0.99 / gates as f64).sqrt();
        if rate > 0.01 + 2.0 * error {
            broken.push(format!("{name}: {:.2} %", rate * 100.0));
        }
    };
    let drifts = [
        ("no drift", Drift::None),
        ("10 % linear drift", Drift::Linear(0.10)),
        ("random walk 1 % a run", Drift::Walk(0.01)),
    ];
    for (n, (drift_name, drift)) in drifts.into_iter().enumerate() {
        // Fewer runs cost less: more gates then pin the rate down better.
        for runs in [6, 10, 30] {
            let (world, gates) = (World { runs, drift, ..A_A }, gates * 30 / runs);
            let rates = rates(world, gates, &policy, (100 * n + runs) as u64);
            let name = format!("A/A, CV 1-15 %, {runs} runs, {drift_name}");
            print(&name, gates, rates);
            promise(&name, rates[0], gates);
        }
    }
    let fixed = World { noise: Noise::Fixed(0.04), ..A_A };
    let separate = World { interleaved: false, ..fixed };
    for (name, world) in [
        ("A/A, CV 4 %, 10 runs", fixed),
        ("A/A, CV 4 %, 10 runs, stored baseline (1 % session shift)", separate),
    ] {
        let rates = rates(world, 2 * gates, &policy, 50);
        print(name, 2 * gates, rates);
        promise(name, rates[0], 2 * gates);
    }
    let live = live_rate(World { runs: 30, ..A_A }, gates, &policy, 52);
    let name = "A/A, CV 1-15 %, live gate, looks at 6, 10, 16, 30";
    println!("| {name} | {gates} | {:.1} % | | | |", live * 100.0);
    promise(name, live, gates);
    let gates = gates / 2;
    for (runs, more, drop, policy) in [(10, 14, 0.10, limit(5.0)), (30, 44, 0.05, limit(2.0))] {
        let caught = |world: World, others: &str| {
            let (worse, metrics, runs) = (world.worse, world.metrics, world.runs);
            let size = drop * 100.0;
            let name =
                format!("{size:.0} % drop, {worse} of {metrics} metrics, {others}, {runs} runs");
            print(&name, gates, rates(world, gates, &policy, 60 + metrics as u64));
        };
        for (metrics, worse) in [(1, 1), (10, 1), (50, 1), (50, 5)] {
            caught(World { runs, drop, metrics, worse, ..fixed }, "CV 4 %");
        }
        for runs in [runs, more] {
            caught(World { runs, drop, worse: 1, ..A_A }, "the others CV 1-15 %");
        }
    }
    assert!(broken.is_empty(), "A/A gates alarm too often: {broken:?}");
}
