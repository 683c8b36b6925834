//! "Did you mean": the nearest of a list of words.

/// The word nearest to `word`, if it is near enough to be a typing slip.
pub fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    words
        .into_iter()
        .map(|w| (strsim::jaro_winkler(&word, &w.to_lowercase()), w))
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, w)| w)
}

/// `did you mean X?`, or what there is.
pub fn did_you_mean<'a>(
    word: &str,
    words: impl IntoIterator<Item = &'a str> + Clone,
    otherwise: &str,
) -> String {
    match nearest(word, words) {
        Some(w) => format!("did you mean `{w}`?"),
        None => otherwise.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_finds_its_word_and_nonsense_finds_none() {
        let words = ["rtx-4090", "rpi-5", "apple-m4-max-40c"];
        assert_eq!(nearest("rtx-490", words), Some("rtx-4090"));
        assert_eq!(nearest("RPI5", words), Some("rpi-5"));
        assert_eq!(nearest("zzzz", words), None);
    }
}
