//! What a misspelt key was likely meant to be.

use kat_images::names::nearest;

use super::keys::Key;

/// What to say about the unknown `path` ("section", "section.key" or "key"): the nearest full key, looked for in
/// the named section first and then everywhere, or the list of what there is.
pub fn hint(path: &str, sections: &[(&str, &[Key])]) -> String {
    let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
    let (section, key) = match path.split_once('.') {
        Some((section, key)) => (section, Some(key)),
        None => (path, None),
    };
    let Some(key) = key else {
        if let Some(owner) = owner_of(path, sections) {
            return format!("did you mean \"{owner}.{path}\"?");
        }
        return match nearest(section, names.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("sections are {}", names.join(", ")),
        };
    };
    let Some((_, keys)) = sections.iter().find(|(name, _)| *name == section) else {
        return match nearest(section, names.iter().copied()) {
            Some(near) => format!("did you mean \"{near}.{key}\"?"),
            None => format!("sections are {}", names.join(", ")),
        };
    };
    if let Some(owner) = owner_of(key, sections) {
        return format!("did you mean \"{owner}.{key}\"?");
    }
    if let Some(near) = nearest(key, keys.iter().map(|k| k.name)) {
        return format!("did you mean \"{section}.{near}\"?");
    }
    let everywhere = sections.iter().flat_map(|(s, keys)| keys.iter().map(move |k| (*s, k.name)));
    let near = nearest(key, everywhere.clone().map(|(_, k)| k));
    match near.and_then(|near| everywhere.clone().find(|(_, k)| *k == near)) {
        Some((s, k)) => format!("did you mean \"{s}.{k}\"?"),
        None => {
            format!("[{section}] takes {}", keys.iter().map(|k| k.name).collect::<Vec<_>>().join(", "))
        }
    }
}

/// The section that has exactly this key.
fn owner_of<'a>(key: &str, sections: &[(&'a str, &[Key])]) -> Option<&'a str> {
    sections.iter().find(|(_, keys)| keys.iter().any(|k| k.name == key)).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::SECTIONS;

    #[test]
    fn hints_name_the_full_key() {
        assert_eq!(hint("optimizer.weigth_decay", SECTIONS), "did you mean \"optimizer.weight_decay\"?");
        assert_eq!(hint("optimiser.lr", SECTIONS), "did you mean \"optimizer.lr\"?");
        assert_eq!(hint("train.lr", SECTIONS), "did you mean \"optimizer.lr\"?");
        assert_eq!(hint("train.mixupp", SECTIONS), "did you mean \"augment.mixup\"?");
        assert_eq!(hint("epochs", SECTIONS), "did you mean \"train.epochs\"?");
        assert!(hint("eval.zzzzzzzz", SECTIONS).starts_with("[eval] takes batch_size, crop"));
    }
}
