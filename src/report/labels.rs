//! What groups are called beside each other: as short as tells them apart.

use super::Group;

/// Arm and setting, with the method or the preset before them where there are several.
pub fn labels(groups: &[Group]) -> Vec<String> {
    let several = |of: fn(&Group) -> String| groups.iter().any(|g| of(g) != of(&groups[0]));
    let (methods, presets) = (several(|g| g.method.to_owned()), several(|g| g.preset.to_owned()));
    let label = |group: &Group| {
        let mut parts = Vec::new();
        parts.extend(methods.then_some(group.method));
        parts.extend(presets.then_some(group.preset));
        let name = group.name();
        if !(methods && group.arm.is_empty() && group.setting.is_empty()) {
            parts.push(&name);
        }
        parts.join(" ")
    };
    groups.iter().map(label).collect()
}

/// The arm that a group's setting belongs to: `wgsef-k26` to `wgsef`, where there is such an arm.
pub fn families(groups: &[Group]) -> Vec<String> {
    let family = |group: &Group| {
        let parents = groups.iter().filter(|g| group.arm.strip_prefix(g.arm).is_some_and(|rest| rest.starts_with('-')));
        let name =
            parents.map(|g| g.arm).filter(|arm| !arm.is_empty()).min_by_key(|arm| arm.len()).unwrap_or(group.arm);
        if name.is_empty() { group.method.to_owned() } else { name.to_owned() }
    };
    groups.iter().map(family).collect()
}
