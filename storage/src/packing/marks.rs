//! What a pack notes of objects: a bit for each mark, in pages for 4096
//! neighbours, made when one of them gets that mark.

use std::collections::BTreeMap;

use zeo_proto::Oid;

const PAGE_BITS: u32 = 12;
const WORDS: usize = (1 << PAGE_BITS) / u64::BITS as usize;

/// What is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    /// It is reachable.
    Reachable,
    /// A record of it is still to be met: its last one before the pack time,
    /// or, while references are followed, the one that says what it refers to.
    Waiting,
    /// Its last record before the pack time says that it is gone.
    Gone,
}

/// The marks of all objects: where oids are in sequence, a bit for each.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    pages: BTreeMap<(Mark, u64), Box<Page>>,
}

type Page = [u64; WORDS];

/// Page, word and bit of an object.
fn place(oid: Oid) -> (u64, usize, u64) {
    let number = oid.as_u64();
    let word = (number >> u64::BITS.ilog2()) as usize % WORDS;
    (
        number >> PAGE_BITS,
        word,
        1 << (number % u64::from(u64::BITS)),
    )
}

impl Marks {
    /// True when the object has the mark.
    pub fn has(&self, oid: Oid, mark: Mark) -> bool {
        let (page, word, bit) = place(oid);
        let page = self.pages.get(&(mark, page));
        page.is_some_and(|page| page[word] & bit != 0)
    }

    /// Gives the object the mark.
    pub fn set(&mut self, oid: Oid, mark: Mark) {
        let (page, word, bit) = place(oid);
        let page = self.pages.entry((mark, page));
        page.or_insert_with(|| Box::new([0; WORDS]))[word] |= bit;
    }

    /// Takes the mark away.
    pub fn clear(&mut self, oid: Oid, mark: Mark) {
        let (page, word, bit) = place(oid);
        if let Some(page) = self.pages.get_mut(&(mark, page)) {
            page[word] &= !bit;
        }
    }

    /// The first object at or behind `from` that has the mark.
    pub fn next_from(&self, from: Oid, mark: Mark) -> Option<Oid> {
        let (first, word, bit) = place(from);
        let mut pages = self.pages.range((mark, first)..=(mark, u64::MAX));
        pages.find_map(|(&(_, number), page)| {
            // Of the first page, the front part does not count.
            let (word, bit) = if number == first { (word, bit) } else { (0, 1) };
            let words = page.iter().enumerate().skip(word);
            let mut bits = words.map(|(i, &bits)| {
                if i == word {
                    (i, bits & !(bit - 1))
                } else {
                    (i, bits)
                }
            });
            let (word, bits) = bits.find(|&(_, bits)| bits != 0)?;
            let within = word as u64 * u64::from(u64::BITS) + u64::from(bits.trailing_zeros());
            Some(Oid::new(number << PAGE_BITS | within))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn agree_with_a_set() {
        let mut marks = Marks::default();
        let mut model = BTreeSet::new();
        let mut numbers = vec![u64::MAX];
        for bit in 0..64 {
            let power = 1_u64 << bit;
            numbers.extend([power - 1, power, power + 1]);
        }
        for (i, &number) in numbers.iter().enumerate() {
            marks.set(Oid::new(number), Mark::Waiting);
            marks.set(Oid::new(number ^ 1), Mark::Gone);
            model.insert(number);
            if i % 3 == 0 {
                let gone = numbers[i / 2];
                marks.clear(Oid::new(gone), Mark::Waiting);
                model.remove(&gone);
            }
        }
        marks.clear(Oid::new(77_777), Mark::Waiting);
        for number in numbers {
            for probe in [number.saturating_sub(1), number, number.saturating_add(1)] {
                let oid = Oid::new(probe);
                assert_eq!(marks.has(oid, Mark::Waiting), model.contains(&probe));
                let next = model.range(probe..).next().map(|&number| Oid::new(number));
                assert_eq!(marks.next_from(oid, Mark::Waiting), next, "{probe:#x}");
                assert!(!marks.has(oid, Mark::Reachable));
            }
        }
    }
}
