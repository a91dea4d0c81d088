//! What a new process needs, as one block of memory that can be sent to the process that makes it.

use std::ffi::{CString, c_char};
use std::os::fd::RawFd;
use std::ptr;

use crate::exec_stage::ExecStage;
use crate::ownership::Means;
use crate::tag::InitName;

/// The longest order, in bytes: longer than the kernel takes command lines and environments, which are bound by a quarter of the
/// stack and by 6 MiB.
pub(crate) const LONGEST: usize = 8 << 20;

/// What stands at the beginning of the block. Then come the places of the pointers to the words and to the variables, each list
/// ended by a null, and then the strings, each with its NUL: the program's path, its folder where it has one, the words, the
/// variables. Both who writes it and who reads it are of one build.
#[derive(Clone, Copy)]
pub(crate) struct OrderHeader {
    /// Of the whole block, in bytes.
    pub(crate) length: usize,
    words: usize,
    variables: usize,
    has_folder: bool,
    no_new_privileges: bool,
    open_files: Option<u64>,
    /// How the program's tree is held; `None` where it is alone.
    pub(crate) tree: Option<TreeOrder>,
}

/// What an init needs in addition.
#[derive(Clone, Copy)]
pub(crate) struct TreeOrder {
    pub(crate) means: Means,
    pub(crate) name: InitName,
    /// The limit that marks the tree, where it belongs to a worker.
    pub(crate) limit: Option<u64>,
}

/// What is asked of a new process on its way to its program.
pub(crate) struct ExecRules {
    pub(crate) no_new_privileges: bool,
    /// The soft limit of open files, where it is not this process's.
    pub(crate) open_files: Option<u64>,
}

/// An order, in memory that is aligned for its header.
pub(crate) struct StartOrder(Vec<u64>);

impl StartOrder {
    pub(crate) fn new(
        path: &CString,
        folder: Option<&CString>,
        [words, variables]: [&[CString]; 2],
        rules: &ExecRules,
        tree: Option<TreeOrder>,
    ) -> Self {
        let strings =
            || [path].into_iter().chain(folder).chain(words).chain(variables).map(|text| text.as_bytes_with_nul());
        let begin = strings_begin(words.len(), variables.len());
        let length = begin + strings().map(<[u8]>::len).sum::<usize>();
        let header = OrderHeader {
            length,
            words: words.len(),
            variables: variables.len(),
            has_folder: folder.is_some(),
            no_new_privileges: rules.no_new_privileges,
            open_files: rules.open_files,
            tree,
        };
        let mut block = vec![0u64; length.div_ceil(size_of::<u64>())];
        // SAFETY: the block is as long as all that is written, one after the other, and aligned for the header.
        unsafe {
            let start = block.as_mut_ptr().cast::<u8>();
            start.cast::<OrderHeader>().write(header);
            let mut place = start.add(begin);
            for text in strings() {
                place.copy_from_nonoverlapping(text.as_ptr(), text.len());
                place = place.add(text.len());
            }
        }
        Self(block)
    }

    pub(crate) fn header(&self) -> &OrderHeader {
        // SAFETY: written by `new`.
        unsafe { &*self.0.as_ptr().cast() }
    }

    /// Where the block is. It is as long as its header says.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }

    /// For a process that is forked here.
    pub(crate) fn stage(&mut self, stdio: [RawFd; 3]) -> ExecStage {
        // SAFETY: a whole block, which outlives the fork.
        unsafe { stage(self.0.as_mut_ptr().cast(), stdio) }
    }
}

/// Fills the lists of pointers in a block, and says where everything is.
///
/// # Safety
/// It is a whole block, and stays where it is for as long as the stage is used.
pub(crate) unsafe fn stage(order: *mut OrderHeader, stdio: [RawFd; 3]) -> ExecStage {
    // SAFETY: `StartOrder::new` has put everything where it is looked for.
    unsafe {
        let header = order.read();
        let argv = order.add(1).cast::<*const c_char>();
        let env = argv.add(header.words + 1);
        let mut text = order.cast::<c_char>().cast_const().add(strings_begin(header.words, header.variables));
        let path = next(&mut text);
        let folder = if header.has_folder { next(&mut text) } else { ptr::null() };
        for (list, count) in [(argv, header.words), (env, header.variables)] {
            for index in 0..count {
                list.add(index).write(next(&mut text));
            }
            list.add(count).write(ptr::null());
        }
        let OrderHeader { no_new_privileges, open_files, .. } = header;
        ExecStage { path, argv, env, folder, stdio, no_new_privileges, open_files, oom_score: None }
    }
}

const fn strings_begin(words: usize, variables: usize) -> usize {
    size_of::<OrderHeader>() + (words + variables + 2) * size_of::<*const c_char>()
}

/// The string here, and on to the one after it.
unsafe fn next(text: &mut *const c_char) -> *const c_char {
    let this = *text;
    // SAFETY: the caller knows of a string here.
    unsafe {
        while text.read() != 0 {
            *text = text.add(1);
        }
        *text = text.add(1);
    }
    this
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn list(texts: &[&str]) -> Vec<CString> {
        texts.iter().map(|text| CString::new(*text).expect("no NUL")).collect()
    }

    /// What the lists say.
    fn read(mut list: *const *const c_char) -> Vec<String> {
        let mut texts = Vec::new();
        // SAFETY: a list of strings that ends with a null.
        unsafe {
            while !list.read().is_null() {
                texts.push(CStr::from_ptr(list.read()).to_str().expect("text").to_owned());
                list = list.add(1);
            }
        }
        texts
    }

    #[test]
    fn an_order_is_read_where_it_was_sent_to() {
        for (folder, words, variables) in
            [(Some("/tmp"), vec!["a", "", "c d"], vec!["X=1", "Y="]), (None, vec!["only"], vec![])]
        {
            let rules = ExecRules { no_new_privileges: true, open_files: Some(7) };
            let folder = folder.map(|folder| CString::new(folder).expect("no NUL"));
            let order =
                StartOrder::new(&c"/bin/x".into(), folder.as_ref(), [&list(&words), &list(&variables)], &rules, None);
            // A copy elsewhere, as another process has it.
            let mut copy = StartOrder(order.0.clone());
            drop(order);
            let stage = copy.stage([3, 4, 5]);
            assert_eq!(
                (read(stage.argv), read(stage.env)),
                (words.iter().map(|s| s.to_string()).collect(), variables.iter().map(|s| s.to_string()).collect())
            );
            // SAFETY: it points into the copy.
            let path = unsafe { CStr::from_ptr(stage.path) };
            assert_eq!((path, stage.folder.is_null()), (c"/bin/x", folder.is_none()));
            assert!(stage.no_new_privileges && stage.open_files == Some(7) && stage.stdio == [3, 4, 5]);
        }
    }
}
