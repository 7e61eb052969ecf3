//! Which samples of a dataset are held out where it has no held-out part: a share of them, the same for the same names and
//! seed whatever their order.

use std::collections::HashMap;

/// Too few samples to hold a share out: both parts need one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{samples} images of {origins} originals, too few to hold out {wanted}")]
pub struct TooFew {
    /// How many there are.
    pub samples: usize,
    /// Files that they were made of.
    pub origins: usize,
    /// How many would be held out.
    pub wanted: usize,
}

/// For each of `names` whether it is held out: about `share` of them, at least one. Samples of one file, and copies of one
/// original that Roboflow augmented, are all held out or none is.
///
/// # Errors
/// Nothing would be left to train on.
pub fn hold_out(names: &[&str], share: f64, seed: u64) -> Result<Vec<bool>, TooFew> {
    let wanted = ((names.len() as f64 * share).round() as usize).max(1);
    let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
    let mut group_of: HashMap<&str, usize> = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        let origin = origin(name);
        let group = *group_of.entry(origin).or_insert_with(|| {
            groups.push((origin, Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push(index);
    }
    let too_few = TooFew { samples: names.len(), origins: groups.len(), wanted };
    // a stable sort: equal ranks stay in the order of the names
    groups.sort_by_cached_key(|(origin, _)| rank(origin, seed));
    let mut held = vec![false; names.len()];
    let mut count = 0;
    for (_, members) in groups {
        if count >= wanted {
            break;
        }
        count += members.len();
        members.into_iter().for_each(|index| held[index] = true);
    }
    if count < names.len() { Ok(held) } else { Err(too_few) }
}

/// What a file was made of: Roboflow calls each augmented copy `ORIGINAL.rf.HASH.jpg`.
fn origin(name: &str) -> &str {
    match name.rsplit_once(".rf.") {
        Some((origin, rest)) if rest.split('.').next().is_some_and(is_hash) => origin,
        _ => name,
    }
}

fn is_hash(text: &str) -> bool {
    text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A number that looks random and depends on both alone (FNV-1a, then a mix).
fn rank(name: &str, seed: u64) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(name.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_by_name_and_seed() {
        let names: Vec<String> = (0..40).map(|i| format!("{i}.jpg")).collect();
        let forward: Vec<&str> = names.iter().map(String::as_str).collect();
        let held = |names: &[&str], seed| -> Vec<String> {
            let held = hold_out(names, 0.25, seed).unwrap();
            let mut held: Vec<String> =
                names.iter().zip(held).filter(|(_, held)| *held).map(|(n, _)| (*n).to_owned()).collect();
            held.sort();
            held
        };
        let backward: Vec<&str> = forward.iter().rev().copied().collect();
        assert_eq!(held(&forward, 0).len(), 10);
        assert_eq!(held(&forward, 0), held(&backward, 0));
        assert_ne!(held(&forward, 0), held(&forward, 1));
    }

    #[test]
    fn images_of_one_file_stay_together() {
        let hash = |i: usize| format!("{i:032x}");
        let copies: Vec<String> = (0..60).map(|i| format!("{}_jpg.rf.{}.jpg", i / 3, hash(i))).collect();
        let names: Vec<&str> = copies.iter().map(String::as_str).chain(["same.png", "same.png"]).collect();
        for seed in 0..20 {
            let held = hold_out(&names, 0.1, seed).unwrap();
            assert!(held[..60].chunks(3).all(|copies| copies.iter().all(|held| *held == copies[0])));
            assert_eq!(held[60], held[61]);
            assert!((6..=8).contains(&held.iter().filter(|held| **held).count()));
        }
        assert_eq!(origin("a.rf.b.jpg"), "a.rf.b.jpg");
    }

    #[test]
    fn both_parts_have_something() {
        let error = hold_out(&["a.jpg", "a.jpg"], 0.1, 0).unwrap_err();
        assert_eq!(error.to_string(), "2 images of 1 originals, too few to hold out 1");
        assert!(hold_out(&[], 0.1, 0).is_err() && hold_out(&["a", "b"], 0.9, 0).is_err());
        assert_eq!(hold_out(&["a", "b"], 0.0, 0).unwrap().iter().filter(|held| **held).count(), 1);
    }
}
