//! Which cases a set of plots shows: one model of one run, one workload a framework x precision.

use std::collections::BTreeMap;

use crate::report::view::{CaseView, View};

/// More sets of plots than this help no reader; the tables have everything.
const MAX_PANELS: usize = 3;
/// Rows a bar chart shows at most.
pub(crate) const MAX_ROWS: usize = 48;

/// Completed headline cases of one model in one run, in table order.
pub(crate) struct Panel<'a> {
    /// `smollm2-135m on AMD EPYC`.
    pub title: String,
    pub run: usize,
    pub cases: Vec<&'a CaseView>,
    /// Backend ids in table order: the index is the framework's colour and mark.
    frameworks: Vec<&'a str>,
}

impl Panel<'_> {
    pub(crate) fn ink(&self, case: &CaseView) -> usize {
        self.frameworks.iter().position(|f| *f == case.backend).unwrap_or(usize::MAX)
    }

    /// Names and colours of the frameworks that occur, in table order.
    pub(crate) fn legend(&self) -> Vec<(usize, &str)> {
        let mut legend: Vec<(usize, &str)> =
            self.cases.iter().map(|c| (self.ink(c), c.framework.as_str())).collect();
        legend.sort_unstable();
        legend.dedup();
        legend
    }
}

/// The panels with most cases first; how many were left out comes second.
pub(crate) fn panels(view: &View) -> (Vec<Panel<'_>>, usize) {
    let frameworks: Vec<&str> = view.frameworks.iter().map(|f| f.id.as_str()).collect();
    let mut by_key: BTreeMap<(usize, &str), Vec<&CaseView>> = BTreeMap::new();
    for case in view.headline.iter().filter_map(|r| r.case).map(|i| &view.cases[i]) {
        if case.outcome == "completed" {
            by_key.entry((case.run, case.model.as_str())).or_default().push(case);
        }
    }
    let mut panels: Vec<Panel> = by_key
        .into_iter()
        .map(|((run, model), cases)| Panel {
            title: format!("{model} on {}", view.runs[run].name),
            run,
            cases,
            frameworks: frameworks.clone(),
        })
        .collect();
    panels.sort_by_key(|p| std::cmp::Reverse(p.cases.len()));
    let left_out = panels.len().saturating_sub(MAX_PANELS);
    panels.truncate(MAX_PANELS);
    (panels, left_out)
}

/// Precision, with device, threads and options where another case has the same precision.
pub(crate) fn label(panel: &Panel, case: &CaseView) -> String {
    let same = |c: &&&CaseView| c.backend == case.backend && c.precision == case.precision;
    let mut text = case.precision.clone();
    if panel.cases.iter().filter(same).count() > 1 {
        let mut parts = vec![case.device.clone(), format!("t{}", case.threads)];
        parts.extend(case.options.clone());
        text = format!("{text} {}", parts.join(" "));
    }
    crate::report::text::shorten(&text, 26)
}
