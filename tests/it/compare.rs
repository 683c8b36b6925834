//! Verdicts of `compare`: what each kind of data and damage leads to.

use edge_advisor::compare::{
    Comparison, Design, GoalVerdict, Judging, Overall, Policy, Row, Side, Verdict, compare,
    policy_from_noise,
};
use edge_advisor::model::{CaseOutcome, EnergyFacts, Metric, Precision};
use edge_advisor::record::RunRecord;

use crate::records::{Run, case, noisy, slower};

fn judge_with(base: &[RunRecord], head: &[RunRecord], policy: &Policy) -> Comparison {
    let side = |label, records| Side::new(label, records).expect("a sound side");
    compare(&side("base", base), &side("head", head), policy, Judging::once(policy))
}

fn judge(base: &RunRecord, head: &RunRecord) -> Comparison {
    let one = |r: &RunRecord| vec![r.clone()];
    judge_with(&one(base), &one(head), &Policy::default())
}

fn row(comparison: &Comparison, metric: Metric) -> &Row {
    comparison.rows.iter().find(|r| r.subject.metric() == Some(metric)).expect("a row")
}

/// One process run of four precisions.
fn quick(run_id: &str, seed: u32) -> RunRecord {
    let mut run = Run::new(run_id, 0);
    for (i, precision) in
        [Precision::F16, Precision::Q8_0, Precision::Q4_0, Precision::Q2_K].into_iter().enumerate()
    {
        let speed = |at: f64, salt: u32| -> Vec<f64> {
            noisy(seed + salt + i as u32, 5, 0.01).into_iter().map(|v| v * at).collect()
        };
        run = run.measured(
            case(precision),
            0,
            &[
                (Metric::DecodeTokS, &speed(50.0, 10)),
                (Metric::PrefillTokS, &speed(400.0, 20)),
                (Metric::TtftNs, &speed(1e9, 30)),
                (Metric::PeakRssBytes, &[2e8]),
            ],
        );
    }
    run.done()
}

/// `n` runs a side, alternating ABBA, head's decode speed multiplied by `factor`.
fn interleaved(n: u32, spread: f64, factor: f64) -> (RunRecord, RunRecord) {
    let noise = noisy(5, 2 * n as usize, spread);
    let mut base = Run::new("base", 0);
    let mut head = Run::new("head", 0);
    for i in 0..n {
        let b = [50.0 * noise[2 * i as usize]; 3];
        let h = [50.0 * factor * noise[2 * i as usize + 1]; 3];
        base = base.measured(case(Precision::Q4_0), i, &[(Metric::DecodeTokS, &b)]);
        head = head.measured(case(Precision::Q4_0), i, &[(Metric::DecodeTokS, &h)]);
    }
    let (mut base, mut head) = (base.done(), head.done());
    for i in 0..n {
        let (first, second) = (crate::records::at(100 * i + 50), crate::records::at(100 * i + 90));
        let (b, h) = if i % 2 == 0 { (first, second) } else { (second, first) };
        base.cases[i as usize].started = b;
        head.cases[i as usize].started = h;
    }
    let end = Some(crate::records::at(100 * n + 100));
    for record in [&mut base, &mut head] {
        if let (Some(e), Some(at)) = (record.end.as_mut(), end.clone()) {
            e.finished = at;
        }
    }
    (base, head)
}

#[test]
fn a_run_against_itself_passes() {
    let run = quick("a", 1);
    let result = judge(&run, &run);
    assert_eq!(result.overall, Overall::Pass);
    assert!(result.rows.iter().all(|r| r.verdict == Verdict::Pass));
}

#[test]
fn a_single_run_that_is_20_percent_slower_is_a_regression() {
    let run = quick("a", 1);
    let result = judge(&run, &slower(&run, 1.2));
    assert_eq!(result.overall, Overall::Regressed);
    for metric in [Metric::DecodeTokS, Metric::PrefillTokS, Metric::TtftNs] {
        assert_eq!(row(&result, metric).verdict, Verdict::Regressed, "{metric}");
        assert_eq!(row(&result, metric).design, Some(Design::SingleRun));
    }
    assert_eq!(row(&result, Metric::PeakRssBytes).verdict, Verdict::Pass);
}

#[test]
fn a_single_run_that_is_faster_improves_and_one_a_little_slower_is_inconclusive() {
    let run = quick("a", 1);
    let faster = judge(&run, &slower(&run, 0.7));
    assert_eq!(faster.overall, Overall::Pass);
    assert_eq!(row(&faster, Metric::DecodeTokS).verdict, Verdict::Improved);
    let little = judge(&run, &slower(&run, 1.06));
    assert_eq!(little.overall, Overall::Inconclusive);
    assert!(little.notes.iter().any(|n| n.contains("one process run")));
}

#[test]
fn interleaved_runs_are_judged_by_blocks() {
    let (base, head) = interleaved(10, 0.02, 0.88);
    let result = judge(&base, &head);
    let row = row(&result, Metric::DecodeTokS);
    assert_eq!((row.design, row.verdict), (Some(Design::Interleaved), Verdict::Regressed));
    assert_eq!((row.runs_base, row.runs_head), (10, 10));
    let noise = row.noise_percent.expect("a measured floor");
    assert!((1.0..4.0).contains(&noise), "{noise}");
    let (base, head) = interleaved(10, 0.02, 1.0);
    let result = judge(&base, &head);
    assert_eq!(result.overall, Overall::Pass, "{:?}", result.rows);
}

#[test]
fn the_same_runs_one_side_after_the_other_are_not_blocks() {
    let (base, mut head) = interleaved(8, 0.02, 1.0);
    for (i, case) in head.cases.iter_mut().enumerate() {
        case.started = crate::records::at(5000 + 10 * i as u32);
    }
    head.end = None;
    let result = judge(&base, &head);
    assert_eq!(row(&result, Metric::DecodeTokS).design, Some(Design::Separate));
}

#[test]
fn noisy_data_are_inconclusive_never_a_pass() {
    let (base, head) = interleaved(4, 0.15, 1.0);
    let result = judge(&base, &head);
    assert_eq!(result.overall, Overall::Inconclusive);
    let detectable = row(&result, Metric::DecodeTokS).detectable.expect("a size");
    assert!(detectable < -10.0, "{detectable}");
}

#[test]
fn a_case_that_disappeared_failed_or_turned_invalid_is_lost() {
    let base = quick("a", 1);
    let mut gone = quick("b", 1);
    gone.cases.pop();
    let mut failed = quick("b", 1);
    failed.cases[0].outcome = CaseOutcome::Crashed { signal: Some(11), code: None };
    let mut invalid = quick("b", 1);
    invalid.cases[0].outcome = CaseOutcome::Invalid { why: "throttled".into() };
    for (head, word) in [(gone, "missing"), (failed, "signal 11"), (invalid, "throttled")] {
        let result = judge(&base, &head);
        assert_eq!(result.overall, Overall::Regressed, "{word}");
        let lost: Vec<_> = result.rows.iter().filter(|r| r.verdict == Verdict::Lost).collect();
        assert!(lost.len() == 1 && lost[0].reason.contains(word), "{lost:?}");
    }
}

#[test]
fn an_invalid_baseline_is_not_comparable_and_a_new_case_is_new() {
    let head = quick("b", 1);
    let mut base = quick("a", 1);
    base.cases[0].outcome = CaseOutcome::Failed { error: "boom".into() };
    assert_eq!(judge(&base, &head).overall, Overall::NotComparable);
    let mut base = quick("a", 1);
    base.cases.remove(0);
    let result = judge(&base, &head);
    assert_eq!((result.overall, result.count(Verdict::New)), (Overall::Pass, 1));
}

#[test]
fn nan_infinite_and_zero_values_never_pass() {
    let base = quick("a", 1);
    let with = |values: &[f64]| {
        let mut record = quick("b", 1);
        record.cases[0].series[0].samples = values.to_vec();
        record
    };
    for bad in [[f64::NAN, 1.0], [f64::INFINITY, 1.0]] {
        assert_eq!(judge(&base, &with(&bad)).overall, Overall::Regressed);
        assert_eq!(judge(&with(&bad), &base).overall, Overall::NotComparable);
    }
    assert_eq!(judge(&with(&[0.0, 0.0]), &base).overall, Overall::NotComparable);
    assert_eq!(judge(&base, &with(&[0.0, 0.0])).overall, Overall::Regressed);
    assert_eq!(judge(&base, &with(&[])).overall, Overall::Regressed);
}

#[test]
fn a_metric_that_disappeared_is_lost() {
    let base = quick("a", 1);
    let mut head = quick("b", 1);
    head.cases[0].series.remove(0);
    let result = judge(&base, &head);
    let lost = row(&result, Metric::DecodeTokS);
    let any = result.rows.iter().any(|r| r.verdict == Verdict::Lost);
    assert!(any && result.overall == Overall::Regressed, "{lost:?}");
}

#[test]
fn other_devices_and_builds_are_not_comparable() {
    let base = quick("a", 1);
    let mut head = quick("b", 1);
    head.header.device.id = "fp-other".into();
    let result = judge(&base, &head);
    assert_eq!(result.overall, Overall::NotComparable);
    assert!(result.notes[0].contains("different devices"));
    let policy = Policy::parse("version = 1\nallow_different_devices = true\n").expect("a policy");
    let allowed = judge_with(std::slice::from_ref(&base), &[head], &policy);
    assert_ne!(allowed.overall, Overall::NotComparable);
    let mut head = quick("b", 1);
    head.header.build.profile = "debug".into();
    assert_eq!(judge(&base, &head).overall, Overall::NotComparable);
}

#[test]
fn energy_of_other_parts_of_the_machine_is_not_comparable() {
    let measured = |run_id, scope: &str| {
        let energy = [(Metric::EnergyPerTokenJ, [0.5, 0.51, 0.5].as_slice())];
        let mut run = Run::new(run_id, 0).measured(case(Precision::Q4_0), 0, &energy).done();
        run.cases[0].energy =
            Some(EnergyFacts { scope: scope.to_owned(), ..EnergyFacts::default() });
        run
    };
    let base = measured("a", "CPU package");
    let same = judge(&base, &measured("b", "CPU package"));
    assert_eq!(row(&same, Metric::EnergyPerTokenJ).verdict, Verdict::Pass);
    let other = judge(&base, &measured("b", "board"));
    let row = row(&other, Metric::EnergyPerTokenJ);
    assert_eq!(row.verdict, Verdict::NotComparable);
    assert_eq!(row.reason, "energy of CPU package in base, of board in head");
}

#[test]
fn sides_that_count_something_twice_are_refused() {
    let run = quick("a", 1);
    let error = |records: &[RunRecord]| {
        Side::new("base", records).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(error(&[run.clone(), run.clone()]).contains("twice"));
    let mut doubled = run.clone();
    doubled.cases.push(run.cases[0].clone());
    assert!(error(&[doubled]).contains("edited or merged by hand"));
    let mut metric = run.clone();
    let series = metric.cases[0].series[0].clone();
    metric.cases[0].series.push(series);
    assert!(error(&[metric]).contains("`decode_tok_s`"));
    let mut other = quick("b", 1);
    other.header.device.id = "fp-other".into();
    assert!(error(&[run, other]).contains("different devices"));
    assert!(error(&[]).contains("no record"));
}

#[test]
fn a_clock_that_went_backwards_is_noted_and_its_times_are_not_used() {
    let (base, mut head) = interleaved(6, 0.02, 1.0);
    head.cases[2].started = "2025-06-01T00:00:00Z".into();
    let result = judge(&base, &head);
    assert!(result.notes.iter().any(|n| n.contains("clock went backwards")));
    assert_eq!(row(&result, Metric::DecodeTokS).design, Some(Design::Separate));
}

#[test]
fn flaky_runs_in_head_are_lost_although_the_others_completed() {
    let (base, mut head) = interleaved(6, 0.01, 1.0);
    head.cases[3].outcome = CaseOutcome::OutOfMemory { detail: "killed".into() };
    head.cases[3].series.clear();
    let result = judge(&base, &head);
    assert_eq!(result.overall, Overall::Regressed);
    assert!(result.rows.iter().any(|r| r.reason.contains("1 of 6 head runs")));
}

#[test]
fn quality_is_compared_over_the_same_chunks_of_text() {
    let chunks = |shift: f64| -> Vec<f64> {
        noisy(3, 40, 0.3).into_iter().map(|v| 0.02 * v + shift).collect()
    };
    let run = |id: &str, shift: f64| {
        let values = chunks(shift);
        Run::new(id, 0)
            .measured(case(Precision::Q4_0), 0, &[(Metric::KlDivergence, &values)])
            .done()
    };
    let result = judge(&run("a", 0.0), &run("b", 0.001));
    assert_eq!(result.overall, Overall::Pass, "{:?}", result.rows);
    let result = judge(&run("a", 0.0), &run("b", 0.03));
    let row = row(&result, Metric::KlDivergence);
    assert_eq!((row.design, row.verdict), (Some(Design::PairedChunks), Verdict::Regressed));
    assert!(row.absolute && (row.change.unwrap_or(0.0) - 0.03).abs() < 1e-9);
}

#[test]
fn goals_compare_with_the_16_bit_sibling() {
    let speed = |v: f64| [v, v * 1.01, v * 0.99];
    let record = Run::new("a", 0)
        .measured(
            case(Precision::F16),
            0,
            &[(Metric::DecodeTokS, &speed(20.0)), (Metric::PeakRssBytes, &[4e8])],
        )
        .measured(
            case(Precision::Q4_0),
            0,
            &[(Metric::DecodeTokS, &speed(60.0)), (Metric::PeakRssBytes, &[1.5e8])],
        )
        .measured(
            case(Precision::Q8_0),
            0,
            &[(Metric::DecodeTokS, &speed(30.0)), (Metric::PeakRssBytes, &[2.4e8])],
        )
        .done();
    let policy = Policy::parse(
        "version = 1\n\
         [[goal]]\nname = \"fast\"\nmetrics = [\"decode_tok_s\"]\nratio_at_least = 2.0\n\
         [[goal]]\nname = \"small\"\nmetrics = [\"peak_rss_bytes\"]\nratio_at_most = 0.5\n\
         [[goal]]\nname = \"ceiling\"\nmetrics = [\"peak_rss_bytes\"]\nat_most = 5e8\n\
         [[goal]]\nname = \"quality\"\nmetrics = [\"top1_agreement\"]\nat_least = 0.95\n",
    )
    .expect("a policy");
    let result = judge_with(std::slice::from_ref(&record), std::slice::from_ref(&record), &policy);
    let verdicts = |name: &str| -> Vec<GoalVerdict> {
        result.goals.iter().filter(|g| g.name == name).map(|g| g.verdict).collect()
    };
    // Cases in order of id: F16, Q4_0, Q8_0; the reference itself has no ratio.
    assert_eq!(verdicts("fast"), [GoalVerdict::Met, GoalVerdict::Missed]);
    assert_eq!(verdicts("small"), [GoalVerdict::Met, GoalVerdict::Missed]);
    assert_eq!(verdicts("ceiling"), [GoalVerdict::Met; 3]);
    assert_eq!(verdicts("quality"), [GoalVerdict::NotComparable]);
    assert_eq!(result.overall, Overall::Regressed);
}

#[test]
fn the_geometric_mean_sees_a_small_change_of_every_case() {
    let mut base = Run::new("base", 0);
    let mut head = Run::new("head", 0);
    let precisions = [Precision::Q8_0, Precision::Q6_K, Precision::Q5_0, Precision::Q4_0];
    for run in 0..8 {
        for (i, &p) in precisions.iter().enumerate() {
            let noise = noisy(run * 31 + i as u32, 2, 0.02);
            base = base.measured(case(p), run, &[(Metric::DecodeTokS, &[50.0 * noise[0]])]);
            head = head.measured(case(p), run, &[(Metric::DecodeTokS, &[46.5 * noise[1]])]);
        }
    }
    let result = judge(&base.done(), &head.done());
    let mean = result.rows.last().expect("a row");
    assert_eq!(mean.subject.case(), "geometric mean of all cases");
    assert_eq!(mean.verdict, Verdict::Regressed, "{mean:?}");
}

#[test]
fn a_policy_written_from_measured_noise_is_valid_and_has_its_numbers() {
    let (base, _) = interleaved(8, 0.05, 1.0);
    let side = Side::new("main", &[base]).expect("a side");
    let text = policy_from_noise(&side);
    let policy = Policy::parse(&text).expect(&text);
    let rule = policy.rule_for(Metric::DecodeTokS, "x");
    assert!((2.0..9.0).contains(&rule.noise_percent), "{text}");
    assert!(rule.limit >= 5.0);
}
