//! Two texts line by line.

/// Lines around a change that are shown with it.
const CONTEXT: usize = 2;
/// Texts whose lines make a larger table than this are shown one after the other.
const LARGEST_TABLE: usize = 4_000_000;

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Same,
    Gone,
    New,
}

/// The lines of both texts, each with `-`, `+` or a space before it. Long stretches of equal lines are left out.
pub(super) fn unified(before: &str, after: &str) -> Vec<String> {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.split('\n').collect(), after.split('\n').collect());
    let marked = marked(&before, &after);
    let near = |index: usize| {
        let first = index.saturating_sub(CONTEXT);
        marked.iter().skip(first).take(index - first + CONTEXT + 1).any(|(mark, _)| *mark != Mark::Same)
    };
    let mut lines = Vec::new();
    let mut left_out = 0;
    let tell_left_out = |lines: &mut Vec<String>, left_out: &mut usize| {
        if *left_out > 0 {
            lines.push(format!("  ({left_out} equal {})", if *left_out == 1 { "line" } else { "lines" }));
            *left_out = 0;
        }
    };
    for (index, (mark, line)) in marked.iter().enumerate() {
        if !near(index) {
            left_out += 1;
            continue;
        }
        tell_left_out(&mut lines, &mut left_out);
        let sign = match mark {
            Mark::Same => ' ',
            Mark::Gone => '-',
            Mark::New => '+',
        };
        lines.push(format!("{sign} {line}").trim_end().to_owned());
    }
    tell_left_out(&mut lines, &mut left_out);
    lines
}

/// The longest common subsequence, by the table of its lengths from each pair of lines on.
fn marked<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<(Mark, &'a str)> {
    let width = after.len() + 1;
    if before.len().saturating_mul(after.len()) > LARGEST_TABLE {
        let gone = before.iter().map(|line| (Mark::Gone, *line));
        return gone.chain(after.iter().map(|line| (Mark::New, *line))).collect();
    }
    let mut table = vec![0_u32; (before.len() + 1) * width];
    for row in (0..before.len()).rev() {
        for column in (0..after.len()).rev() {
            table[row * width + column] = if before[row] == after[column] {
                table[(row + 1) * width + column + 1] + 1
            } else {
                table[(row + 1) * width + column].max(table[row * width + column + 1])
            };
        }
    }
    let (mut row, mut column) = (0, 0);
    let mut marked = Vec::with_capacity(before.len().max(after.len()));
    while row < before.len() || column < after.len() {
        if row < before.len() && column < after.len() && before[row] == after[column] {
            marked.push((Mark::Same, before[row]));
            row += 1;
            column += 1;
        } else if row < before.len()
            && (column == after.len() || table[(row + 1) * width + column] >= table[row * width + column + 1])
        {
            marked.push((Mark::Gone, before[row]));
            row += 1;
        } else {
            marked.push((Mark::New, after[column]));
            column += 1;
        }
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_come_with_two_lines_around_them() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh";
        assert_eq!(
            unified(before, "a\nb\nc\nd\nE\nf\ng\nh"),
            ["  (2 equal lines)", "  c", "  d", "- e", "+ E", "  f", "  g", "  (1 equal line)"]
        );
        assert_eq!(unified("a\nb", "b\nc"), ["- a", "  b", "+ c"]);
        assert_eq!(unified("", "x"), ["-", "+ x"]);
    }
}
