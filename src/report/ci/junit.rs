//! JUnit XML: a suite a case, a test a metric. Failures are regressions, errors what could not be judged.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::lines;
use crate::compare::{Comparison, GoalVerdict, Overall, Row, Verdict};
use crate::report::text;

pub fn render(comparison: &Comparison) -> Result<String, quick_junit::SerializeError> {
    let mut report = Report::new("edge-advisor gate");
    for case_rows in comparison.rows.chunk_by(|a, b| a.subject.case() == b.subject.case()) {
        let mut suite = TestSuite::new(text::plain(case_rows[0].subject.case()));
        suite.add_test_cases(case_rows.iter().map(test_case));
        report.add_test_suite(suite);
    }
    for goals in comparison.goals.chunk_by(|a, b| a.name == b.name) {
        let mut suite = TestSuite::new(text::plain(&format!("goal: {}", goals[0].name)));
        for goal in goals {
            let message = text::plain(&format!("wanted {}, found {}", goal.wanted, goal.reason));
            let status = match goal.verdict {
                GoalVerdict::Met => TestCaseStatus::success(),
                GoalVerdict::Missed => failed(NonSuccessKind::Failure, "missed", message),
                other => failed(NonSuccessKind::Error, other.word(), message),
            };
            let name = text::plain(&format!("{} of {}", goal.metric, goal.case));
            suite.add_test_case(TestCase::new(name, status));
        }
        report.add_test_suite(suite);
    }
    if comparison.rows.is_empty() && comparison.goals.is_empty() {
        report.add_test_suite(nothing(comparison));
    }
    report.to_string().map(without_root_skipped)
}

/// The schema that CI systems go by (junit-10.xsd) has no `skipped` on the root element.
fn without_root_skipped(mut xml: String) -> String {
    const ATTRIBUTE: &str = " skipped=\"";
    if let Some(start) = xml.find(ATTRIBUTE) {
        let value = start + ATTRIBUTE.len();
        if let Some(length) = xml[value..].find('"') {
            xml.replace_range(start..=value + length, "");
        }
    }
    xml
}

/// Sides that cannot be compared at all must not look like an empty, green report.
fn nothing(comparison: &Comparison) -> TestSuite {
    let mut suite = TestSuite::new("comparison");
    let message = text::plain(&comparison.notes.join("; "));
    let status = match comparison.overall {
        Overall::Pass => TestCaseStatus::success(),
        other => failed(NonSuccessKind::Error, other.word(), message),
    };
    suite.add_test_case(TestCase::new("base and head can be compared", status));
    suite
}

fn failed(kind: NonSuccessKind, word: &str, message: String) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(word).set_message(message);
    status
}

fn test_case(row: &Row) -> TestCase {
    let sentence = lines::sentence(row);
    let status = match row.verdict {
        _ if !row.gates => TestCaseStatus::skipped(),
        Verdict::Pass | Verdict::Improved => TestCaseStatus::success(),
        Verdict::Regressed | Verdict::Lost => {
            failed(NonSuccessKind::Failure, row.verdict.word(), sentence.clone())
        }
        Verdict::Inconclusive | Verdict::NotComparable => {
            failed(NonSuccessKind::Error, row.verdict.word(), sentence.clone())
        }
        Verdict::New | Verdict::NotRun => TestCaseStatus::skipped(),
    };
    let mut case = TestCase::new(row.subject.metric_key(), status);
    case.set_classname(text::plain(row.subject.case()));
    case.set_system_out(sentence);
    case
}
