//! The tree: nodes read from TOML, walked over facts. A node names the fact it tests, its effect, its reason and its source.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use super::facts::{FactValue, Facts, NAMES};
use crate::model::{ComputeApi, Precision, PrecisionClass, ProcessorKind};
use crate::profile::nearest;

/// One file a stage, in the order the tree is walked.
const EMBEDDED: [&str; 6] = [
    include_str!("../../profiles/rules/1-hardware.toml"),
    include_str!("../../profiles/rules/2-model.toml"),
    include_str!("../../profiles/rules/3-workflow.toml"),
    include_str!("../../profiles/rules/4-constraints.toml"),
    include_str!("../../profiles/rules/5-framework.toml"),
    include_str!("../../profiles/rules/6-precision.toml"),
];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rules: {0}")]
pub struct RulesError(pub String);

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    pub stage: String,
    pub question: String,
    #[serde(rename = "node")]
    pub nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Permanent: used in traces, tests and documents.
    pub id: String,
    #[serde(default)]
    pub parent: Option<String>,
    pub title: String,
    pub when: Vec<Test>,
    pub effects: Vec<Effect>,
    /// Something to tell the user, where the node fires.
    #[serde(default)]
    pub advice: Option<String>,
    pub reason: String,
    pub source: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    pub fact: String,
    pub op: Op,
    #[serde(default)]
    pub value: Option<FactValue>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    Is,
    IsNot,
    OneOf,
    Contains,
    AtLeast,
    AtMost,
    Above,
    Below,
    Present,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    Prefer,
    Avoid,
    Reject,
    /// Rejects what does not match.
    Require,
}

/// What a node does to the candidates it selects; a selector that is left out selects all.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    pub act: Act,
    #[serde(default)]
    pub weight: f64,
    #[serde(default)]
    pub frameworks: Vec<String>,
    #[serde(default)]
    pub apis: Vec<ComputeApi>,
    #[serde(default)]
    pub processors: Vec<ProcessorKind>,
    #[serde(default)]
    pub precisions: Vec<Precision>,
    #[serde(default)]
    pub classes: Vec<PrecisionClass>,
    #[serde(default)]
    pub proprietary: Option<bool>,
    #[serde(default)]
    pub bench: Option<bool>,
    #[serde(default)]
    pub embedded: Option<bool>,
    #[serde(default)]
    pub ready: Option<bool>,
}

/// All stages.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    pub stages: Vec<Stage>,
}

/// One node that fired, with the facts it used.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Step {
    pub stage: String,
    pub id: String,
    pub title: String,
    /// `gpu.vendor = NVIDIA`, one a test.
    pub facts: Vec<String>,
    /// `prefer llama.cpp cuda +0.10`, one an effect.
    pub effects: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    pub reason: String,
    pub source: String,
}

/// The path a request took through the tree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Walk {
    pub steps: Vec<Step>,
}

impl Walk {
    pub fn fired(&self, id: &str) -> bool {
        self.steps.iter().any(|s| s.id == id)
    }
}

impl Rules {
    /// The rules in the binary.
    pub fn embedded() -> &'static Rules {
        static PARSED: OnceLock<Rules> = OnceLock::new();
        PARSED.get_or_init(|| {
            Rules::parse(&EMBEDDED).expect("the embedded rules are checked by a test")
        })
    }

    /// Reads stages in order and checks ids, parents, facts and weights.
    ///
    /// # Errors
    /// The first thing that is wrong, with the node's id.
    pub fn parse(files: &[&str]) -> Result<Self, RulesError> {
        let mut stages: Vec<Stage> = Vec::new();
        for text in files {
            stages.push(toml::from_str(text).map_err(|e| RulesError(e.to_string()))?);
        }
        let rules = Rules { stages };
        rules.check()?;
        Ok(rules)
    }

    fn check(&self) -> Result<(), RulesError> {
        let mut seen: Vec<&str> = Vec::new();
        for stage in &self.stages {
            let mut here: Vec<&str> = Vec::new();
            for n in &stage.nodes {
                let wrong = |why: String| Err(RulesError(format!("node `{}`: {why}", n.id)));
                if seen.contains(&n.id.as_str()) {
                    return wrong("the id is used twice".to_owned());
                }
                if let Some(p) = n.parent.as_deref().filter(|p| !here.contains(p)) {
                    return wrong(format!("parent `{p}` is not an earlier node of this stage"));
                }
                for t in &n.when {
                    if !NAMES.contains(&t.fact.as_str()) {
                        let hint = nearest(&t.fact, NAMES.iter().copied())
                            .map_or(String::new(), |m| format!(": did you mean `{m}`?"));
                        return wrong(format!("unknown fact `{}`{hint}", t.fact));
                    }
                    if t.value.is_none() && t.op != Op::Present {
                        return wrong(format!("test of `{}` has no value", t.fact));
                    }
                }
                if n.when.is_empty() || n.reason.is_empty() || n.source.is_empty() {
                    return wrong("a node needs a test, a reason and a source".to_owned());
                }
                for e in &n.effects {
                    let weighs = matches!(e.act, Act::Prefer | Act::Avoid);
                    if weighs != (e.weight.is_finite() && e.weight > 0.0 && e.weight <= 2.0) {
                        return wrong(
                            "prefer and avoid need a weight in 0..=2, reject and require none"
                                .to_owned(),
                        );
                    }
                }
                seen.push(&n.id);
                here.push(&n.id);
            }
        }
        Ok(())
    }

    /// Walks the tree: which nodes fire, in order.
    pub fn walk(&self, facts: &Facts) -> Walk {
        let mut steps: Vec<Step> = Vec::new();
        for stage in &self.stages {
            for node in &stage.nodes {
                let open = node.parent.as_ref().is_none_or(|p| steps.iter().any(|s| s.id == *p));
                if open && node.when.iter().all(|t| t.holds(facts)) {
                    steps.push(node.step(&stage.stage, facts));
                }
            }
        }
        Walk { steps }
    }

    pub(super) fn node(&self, id: &str) -> Option<(&Stage, &Node)> {
        self.stages.iter().find_map(|s| s.nodes.iter().find(|n| n.id == id).map(|n| (s, n)))
    }

    /// Applies the effects of the path to one candidate: weights by stage, and what rejects it.
    pub(super) fn apply(&self, walk: &Walk, candidate: &mut Candidate) {
        for step in &walk.steps {
            let Some((stage, node)) = self.node(&step.id) else { continue };
            for e in &node.effects {
                let selected = e.selects(candidate);
                match e.act {
                    Act::Prefer | Act::Avoid if selected => {
                        let sign = if e.act == Act::Prefer { 1.0 } else { -1.0 };
                        candidate.weigh(&stage.stage, &node.id, sign * e.weight);
                    }
                    Act::Reject if selected => candidate.reject_by_rule(&node.id, &node.reason),
                    Act::Require if !selected => candidate.reject_by_rule(&node.id, &node.reason),
                    _ => {}
                }
            }
        }
    }
}

impl Node {
    fn step(&self, stage: &str, facts: &Facts) -> Step {
        let used = |t: &Test| {
            let value =
                facts.get(&t.fact).map_or_else(|| "unknown".to_owned(), ToString::to_string);
            format!("{} = {value}", t.fact)
        };
        Step {
            stage: stage.to_owned(),
            id: self.id.clone(),
            title: self.title.clone(),
            facts: self.when.iter().map(used).collect(),
            effects: self.effects.iter().map(Effect::describe).collect(),
            advice: self.advice.clone(),
            reason: self.reason.clone(),
            source: self.source.clone(),
        }
    }
}

impl Test {
    /// An unknown fact makes every test false but `is_not`, which then has nothing to object to.
    fn holds(&self, facts: &Facts) -> bool {
        let fact = facts.get(&self.fact);
        match (self.op, fact, &self.value) {
            (Op::Present, fact, _) => fact.is_some(),
            (Op::IsNot, fact, Some(v)) => fact != Some(v),
            (Op::Is, Some(f), Some(v)) => f == v,
            (Op::OneOf, Some(FactValue::Text(t)), Some(FactValue::List(l))) => l.contains(t),
            (Op::Contains, Some(FactValue::List(l)), Some(FactValue::Text(t))) => l.contains(t),
            (Op::AtLeast, Some(FactValue::Number(a)), Some(FactValue::Number(b))) => a >= b,
            (Op::AtMost, Some(FactValue::Number(a)), Some(FactValue::Number(b))) => a <= b,
            (Op::Above, Some(FactValue::Number(a)), Some(FactValue::Number(b))) => a > b,
            (Op::Below, Some(FactValue::Number(a)), Some(FactValue::Number(b))) => a < b,
            _ => false,
        }
    }

    pub(super) fn describe(&self) -> String {
        let op = match self.op {
            Op::Is => "is",
            Op::IsNot => "is not",
            Op::OneOf => "is one of",
            Op::Contains => "contains",
            Op::AtLeast => "is at least",
            Op::AtMost => "is at most",
            Op::Above => "is above",
            Op::Below => "is below",
            Op::Present => "is known",
        };
        match &self.value {
            Some(v) => format!("{} {op} {v}", self.fact),
            None => format!("{} {op}", self.fact),
        }
    }
}

impl Effect {
    fn selects(&self, c: &Candidate) -> bool {
        fn among<T: PartialEq>(list: &[T], value: &T) -> bool {
            list.is_empty() || list.contains(value)
        }
        let flag = |wanted: Option<bool>, value: bool| wanted.is_none_or(|w| w == value);
        among(&self.frameworks, &c.framework)
            && among(&self.apis, &c.api)
            && among(&self.processors, &c.processor_kind)
            && among(&self.precisions, &c.precision)
            && among(&self.classes, &c.precision.class())
            && flag(self.proprietary, c.proprietary)
            && flag(self.bench, c.bench)
            && flag(self.embedded, c.embedded)
            && flag(self.ready, c.state.is_ready())
    }

    pub(super) fn describe(&self) -> String {
        let act = match self.act {
            Act::Prefer => "prefer",
            Act::Avoid => "avoid",
            Act::Reject => "reject",
            Act::Require => "require",
        };
        let mut what: Vec<String> = self.frameworks.clone();
        what.extend(self.apis.iter().map(super::facts::snake));
        what.extend(self.processors.iter().map(super::facts::snake));
        what.extend(self.precisions.iter().map(ToString::to_string));
        what.extend(self.classes.iter().map(|c| format!("{} bits", super::facts::snake(c))));
        for (name, flag) in [
            ("proprietary", self.proprietary),
            ("benchable", self.bench),
            ("embedded", self.embedded),
            ("installed", self.ready),
        ] {
            match flag {
                Some(true) => what.push(name.to_owned()),
                Some(false) => what.push(format!("not {name}")),
                None => {}
            }
        }
        let sign = if self.act == Act::Avoid { "-" } else { "+" };
        let weight =
            if self.weight > 0.0 { format!(" {sign}{:.2}", self.weight) } else { String::new() };
        format!("{act} {}{weight}", what.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGE: &str = r#"
stage = "s"
question = "q"
[[node]]
id = "a"
title = "A"
when = [{ fact = "gpu.vendor", op = "is", value = "NVIDIA" }]
effects = [{ act = "prefer", frameworks = ["x"], weight = 0.1 }]
reason = "r"
source = "s"
"#;

    #[test]
    fn the_embedded_rules_parse_with_unique_ids_known_facts_and_known_frameworks() {
        let rules = Rules::embedded();
        assert!(rules.stages.iter().map(|s| s.nodes.len()).sum::<usize>() >= 40);
        for n in rules.stages.iter().flat_map(|s| &s.nodes) {
            for f in n.effects.iter().flat_map(|e| &e.frameworks) {
                assert!(super::super::Frameworks::embedded().get(f).is_some(), "{}: {f}", n.id);
            }
        }
    }

    #[test]
    fn a_bad_rules_file_names_the_node_and_the_fact_that_was_meant() {
        let e = |from: &str, to: &str| Rules::parse(&[&STAGE.replace(from, to)]).unwrap_err().0;
        assert!(e("gpu.vendor", "gpu.vendors").contains("did you mean `gpu.vendor`"));
        assert!(e("0.1", "-1").contains("node `a`"));
        assert!(e("reason = \"r\"", "reason = \"\"").contains("reason"));
        assert!(Rules::parse(&[STAGE, STAGE]).unwrap_err().0.contains("twice"));
    }

    #[test]
    fn an_unknown_fact_fires_nothing() {
        let rules = Rules::parse(&[STAGE]).unwrap();
        assert!(rules.walk(&Facts::default()).steps.is_empty());
        let mut facts = Facts::default();
        facts.0.insert("gpu.vendor", FactValue::Text("NVIDIA".into()));
        assert!(rules.walk(&facts).fired("a"));
    }
}
