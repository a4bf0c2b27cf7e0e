//! Fenced blocks of a Markdown page.

/// One block.
pub(super) struct Block<'p> {
    /// The line of its first line of text.
    pub(super) line: usize,
    /// What stands behind the fence, for example `yaml fragment`.
    pub(super) info: &'p str,
    pub(super) lines: Vec<&'p str>,
}

/// The blocks of a page, in order.
pub(super) fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (index, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some(Block { line: index + 2, info, lines: Vec::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.lines.push(line),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "the last block has no end");
    blocks
}
