//! Token ids of real text: passages as documents, then a sentence of each as its query.

use super::Part;
use crate::formats::tokenizer::Tokenizer;
use crate::quality::default_corpus;

/// One row of token ids and how many of them are text rather than padding.
pub(super) struct Row {
    pub ids: Vec<u32>,
    pub used: usize,
}

/// Documents and queries of an evaluation set: every query has its document, and others to be told from.
pub const DOCUMENTS: usize = 24;
pub(super) const QUERIES: usize = 8;

/// Row `index` of a part, `length` ids long. Of an evaluation's rows the first [`DOCUMENTS`] fill their length.
pub(super) fn row(
    tokenizer: Option<&Tokenizer>,
    part: Part,
    index: usize,
    length: usize,
) -> Result<Row, String> {
    let text = passage(part, index);
    let Some(tokenizer) = tokenizer else {
        // Small ids are in every vocabulary.
        let ids: Vec<u32> = text.bytes().cycle().take(length).map(u32::from).collect();
        return Ok(Row { used: ids.len(), ids });
    };
    let mut ids = tokenizer.encode_framed(&text, length)?;
    let used = ids.len();
    ids.resize(length, tokenizer.padding());
    Ok(Row { ids, used })
}

/// Sentences in turn, so that neighbours in number are not neighbours in the text. Calibration reads from the other
/// end, and no passage of one part begins where one of the other does.
fn passage(part: Part, index: usize) -> String {
    let sentences = sentences();
    let n = sentences.len();
    match part {
        Part::Evaluation if index >= DOCUMENTS => {
            let document = (index - DOCUMENTS) * DOCUMENTS / QUERIES;
            sentences[(document * 2 + 1) % n].to_owned()
        }
        Part::Evaluation => joined(&sentences, index * 2),
        Part::Calibration => joined(&sentences, n.saturating_sub(1 + index * 2) | 1),
    }
}

/// Enough text for any usual length, from sentence `start` on.
fn joined(sentences: &[&str], start: usize) -> String {
    const ENOUGH: usize = 4096;
    let mut text = String::new();
    for sentence in sentences.iter().cycle().skip(start % sentences.len()) {
        if text.len() > ENOUGH {
            break;
        }
        text.push_str(sentence);
        text.push(' ');
    }
    text
}

/// The corpus cut after full stops and at line ends; scraps are left out.
fn sentences() -> Vec<&'static str> {
    let lines = default_corpus().lines();
    let parts = lines.flat_map(|l| l.split_inclusive(". ")).map(str::trim);
    parts.filter(|s| s.len() >= 24).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_begins_otherwise_and_a_query_is_inside_its_document() {
        let documents: std::collections::BTreeSet<String> =
            (0..DOCUMENTS).map(|i| passage(Part::Evaluation, i)).collect();
        assert_eq!(documents.len(), DOCUMENTS);
        for q in 0..QUERIES {
            let query = passage(Part::Evaluation, DOCUMENTS + q);
            let document = passage(Part::Evaluation, q * DOCUMENTS / QUERIES);
            assert!(document.contains(&query), "{query}");
        }
        for i in 0..DOCUMENTS {
            assert!(!documents.contains(&passage(Part::Calibration, i)), "{i}");
        }
    }
}
