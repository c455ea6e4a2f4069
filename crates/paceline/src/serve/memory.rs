use std::fs;
use std::path::Path;

use paceline_model::ByteSize;

/// What to go by where the system does not say: small enough for any machine.
const UNKNOWN: u64 = 2 << 30;

/// How much memory this process may have: the machine's, or less if a control group that it is in says so.
pub(crate) fn available_memory() -> ByteSize {
    let read = |path: &str| fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| machine_memory(&text));
    let machine = machine.unwrap_or(UNKNOWN);
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    ByteSize(group_limit(&groups, read).map_or(machine, |limit| limit.min(machine)))
}

/// The least that the control groups of a process allow, by their files. In a container its own group may be
/// the outermost one that is to be seen, whatever it is called outside.
fn group_limit(groups: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let groups = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            some if some.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        Some((Path::new(root), group.trim_start_matches('/'), file))
    });
    let files = groups.flat_map(|(root, group, file)| {
        let around = Path::new(group).ancestors();
        around.map(move |group| root.join(group).join(file))
    });
    let limits = files.filter_map(|file| read(file.to_str()?)?.trim().parse::<u64>().ok());
    limits.min()
}

fn machine_memory(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_that_a_group_or_one_around_it_allows_counts() {
        let files = [
            ("/sys/fs/cgroup/a.slice/memory.max", "4000\n"),
            ("/sys/fs/cgroup/a.slice/b.service/memory.max", "max\n"),
            ("/sys/fs/cgroup/memory/c/memory.limit_in_bytes", "3000\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "5000\n"),
        ];
        let limit = |groups: &str| {
            let read = |path: &str| {
                let mut known = files.iter().filter(|(name, _)| *name == path);
                known.next().map(|(_, text)| text.to_string())
            };
            group_limit(groups, read)
        };
        assert_eq!(limit("0::/a.slice/b.service\n"), Some(4000));
        assert_eq!(limit("0::/else\n"), None);
        assert_eq!(limit("9:cpu:/c\n0::/\n"), None);
        assert_eq!(limit("9:cpu:/x\n4:memory:/c\n0::/\n"), Some(3000));
        // As it is seen from within a container.
        assert_eq!(limit("4:memory:/docker/1234\n"), Some(5000));
        assert_eq!(limit("nonsense"), None);
    }

    #[test]
    fn the_total_is_found() {
        let text = "MemTotal:       24653012 kB\nMemFree: 1 kB\n";
        assert_eq!(machine_memory(text), Some(24_653_012 << 10));
        assert_eq!(machine_memory("MemFree: 1 kB\n"), None);
        assert!(available_memory().0 > 64 << 20);
    }
}
