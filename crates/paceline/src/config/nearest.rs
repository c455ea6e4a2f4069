/// The known word that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (distance(word, candidate), candidate))
        .min()
        .filter(|&(distance, candidate)| distance <= 2.max(candidate.len() / 3))
        .map(|(_, candidate)| candidate)
}

/// How many letters must be put in, left out or changed.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, (&b, pair)) in to.iter().zip(row.windows(2)).enumerate() {
            let &[diagonal, above] = pair else {
                continue;
            };
            let left = next.get(j).copied().unwrap_or(usize::MAX - 1);
            next.push(
                (diagonal + usize::from(a != b))
                    .min(above + 1)
                    .min(left + 1),
            );
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_find_their_word_and_nonsense_finds_none() {
        let known = ["http_port", "flight_port", "slots"];
        let find = |word| nearest(word, known.into_iter());
        assert_eq!(find("htpp_port"), Some("http_port"));
        assert_eq!(find("slot"), Some("slots"));
        assert_eq!(find("colour"), None);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
