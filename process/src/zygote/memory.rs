//! Which memory a zygote lets go of.

use std::io;
use std::ops::Range;

/// Ranges of memory that a zygote does not need: all that belongs to no file, as the heap and the stacks of other threads. Its functions
/// allocate nothing. So what was on the heap is not kept twice, nor beside programs; what stays is data of the program's file and the stack that
/// the zygote was forked on.
#[derive(Clone, Copy)]
pub(super) struct Needless {
    ranges: [(usize, usize); Self::MOST],
    count: usize,
    /// The stack of the first thread, in which the command line is: it is emptied, and stays.
    first_stack: Option<(usize, usize)>,
}

impl Needless {
    /// Ranges that are next to each other are one; what is beyond so many stays.
    const MOST: usize = 128;

    /// Looks through this process's memory. The stack with this address in it is needed.
    pub(super) fn find(stack: usize) -> io::Result<Self> {
        // A file's path may be anything.
        Ok(Self::of(&String::from_utf8_lossy(&std::fs::read("/proc/self/maps")?), stack))
    }

    fn of(maps: &str, stack: usize) -> Self {
        let mut needless = Self { ranges: [(0, 0); Self::MOST], count: 0, first_stack: None };
        // Where the last part of a program or library ended that is in memory: behind it is its data that has no bytes in the file.
        let mut object_end = 0;
        for (range, name) in maps.lines().filter_map(mapping) {
            match name {
                "[stack]" => needless.first_stack = Some((range.start, range.len())),
                anonymous if anonymous.is_empty() || anonymous == "[heap]" || anonymous.starts_with("[anon") => {
                    if !range.contains(&stack) && range.start != object_end {
                        needless.add(range);
                    }
                }
                special if special.starts_with('[') => {}
                // Memory that is shared with this process: no object, behind which its data would be.
                "/dev/zero (deleted)" => {}
                _object => object_end = range.end,
            }
        }
        needless
    }

    fn add(&mut self, range: Range<usize>) {
        let last = self.count.checked_sub(1).and_then(|last| self.ranges.get_mut(last));
        match last.filter(|(start, bytes)| start + bytes == range.start) {
            Some((_, bytes)) => *bytes += range.len(),
            None => {
                if let Some(free) = self.ranges.get_mut(self.count) {
                    *free = (range.start, range.len());
                    self.count += 1;
                }
            }
        }
    }

    /// What is to be unmapped, as addresses and lengths.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (usize, usize)> {
        self.ranges.into_iter().take(self.count)
    }

    pub(super) const fn first_stack(&self) -> Option<(usize, usize)> {
        self.first_stack
    }
}

/// A line of `maps`: the range, and the name of what is there.
fn mapping(line: &str) -> Option<(Range<usize>, &str)> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let address = |digits| usize::from_str_radix(digits, 16).ok();
    Some((address(start)?..address(end)?, fields.nth(4).unwrap_or_default().trim_start()))
}

/// Where the kernel reads this process's command line from its memory.
pub(crate) fn title() -> Option<(usize, usize)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // arg_start and arg_end are fields 48 and 49; the first after the name is 3.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(45);
    let (start, end): (usize, usize) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (start != 0 && start < end).then(|| (start, end - start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
1000-2000 r--p 00000000 fd:01 42                         /usr/bin/muster
2000-3000 rw-p 00001000 fd:01 42                         /usr/bin/muster
3000-4000 rw-p 00000000 00:00 0 
5000-6000 rw-p 00000000 00:00 0                          [heap]
6000-7000 rw-p 00000000 00:00 0 
7000-8000 ---p 00000000 00:00 0 
8000-9000 rw-p 00000000 00:00 0 
a000-b000 rw-p 00000000 00:00 0                          [anon:x y]
c000-d000 r-xp 00000000 fd:01 43                         /usr/lib/a b.so
d000-e000 rw-p 00000000 00:00 0 
e000-e800 rw-s 00000000 00:01 99                         /dev/zero (deleted)
e800-f000 rw-p 00000000 00:00 0 
f000-10000 rw-p 00000000 00:00 0                         [stack]
11000-12000 r-xp 00000000 00:00 0                        [vdso]
";

    #[test]
    fn only_what_belongs_to_no_file_is_let_go() {
        let needless = Needless::of(MAPS, 0x8800);
        assert_eq!(needless.ranges().collect::<Vec<_>>(), [(0x5000, 0x3000), (0xa000, 0x1000), (0xe800, 0x800)]);
        assert_eq!(needless.first_stack(), Some((0xf000, 0x1000)));
        assert!(!Needless::of(MAPS, 0xa800).ranges().any(|(start, _)| start == 0xa000), "a stack may have a name");
        let here = 0u8;
        let own = Needless::find((&raw const here).addr()).expect("readable");
        assert!(
            own.count > 0
                && !own.ranges().any(|(start, bytes)| (start..start + bytes).contains(&(&raw const here).addr()))
        );
    }

    #[test]
    fn the_command_line_is_where_the_kernel_says() {
        let (start, bytes) = title().expect("it has one");
        // SAFETY: the kernel says so.
        let text = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(start), bytes) };
        assert_eq!(text, std::fs::read("/proc/self/cmdline").expect("readable"));
    }
}
