//! Circles among steps.

/// The first circle of a directed graph, as the nodes along it; `None` when there is none. `next[n]` lists what `n` waits for.
/// Takes time in proportion to nodes and edges.
pub(super) fn find_circle(next: &[Vec<usize>]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Seen {
        Not,
        OnPath,
        Done,
    }
    let mut seen = vec![Seen::Not; next.len()];
    for start in 0..next.len() {
        if seen[start] != Seen::Not {
            continue;
        }
        let mut path = vec![(start, 0)];
        seen[start] = Seen::OnPath;
        while let Some((node, edge)) = path.last_mut() {
            let Some(target) = next[*node].get(*edge).copied() else {
                seen[*node] = Seen::Done;
                path.pop();
                continue;
            };
            *edge += 1;
            match seen[target] {
                Seen::Not => {
                    seen[target] = Seen::OnPath;
                    path.push((target, 0));
                }
                Seen::OnPath => {
                    let nodes = path.iter().map(|(node, _)| *node);
                    return Some(nodes.skip_while(|node| *node != target).collect());
                }
                Seen::Done => {}
            }
        }
    }
    None
}

/// A number for each node, the same for nodes that can reach each other (strongly connected components, by Tarjan's
/// algorithm without recursion).
pub(super) fn components(next: &[Vec<usize>]) -> Vec<usize> {
    const UNSEEN: usize = usize::MAX;
    let mut order = vec![UNSEEN; next.len()];
    let mut lowest = vec![UNSEEN; next.len()];
    let mut component = vec![UNSEEN; next.len()];
    let (mut waiting, mut counter, mut components) = (Vec::new(), 0, 0);
    for start in 0..next.len() {
        if order[start] != UNSEEN {
            continue;
        }
        let mut path = vec![(start, 0)];
        while let Some((node, edge)) = path.last_mut() {
            let node = *node;
            if *edge == 0 && order[node] == UNSEEN {
                order[node] = counter;
                lowest[node] = counter;
                counter += 1;
                waiting.push(node);
            }
            if let Some(target) = next[node].get(*edge).copied() {
                *edge += 1;
                if order[target] == UNSEEN {
                    path.push((target, 0));
                } else if component[target] == UNSEEN {
                    lowest[node] = lowest[node].min(order[target]);
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last() {
                lowest[*parent] = lowest[*parent].min(lowest[node]);
            }
            if lowest[node] == order[node] {
                while let Some(member) = waiting.pop() {
                    component[member] = components;
                    if member == node {
                        break;
                    }
                }
                components += 1;
            }
        }
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_found_wherever_it_is_and_told_in_order() {
        assert_eq!(find_circle(&[vec![1], vec![2], vec![], vec![0, 2]]), None);
        assert_eq!(find_circle(&[vec![1, 2], vec![], vec![3], vec![4], vec![2]]), Some(vec![2, 3, 4]));
        assert_eq!(find_circle(&[vec![], vec![1]]), Some(vec![1]));
    }

    #[test]
    fn nodes_that_reach_each_other_are_one_component() {
        let found = components(&[vec![1], vec![2], vec![1, 3], vec![], vec![4]]);
        assert_eq!(found[1], found[2]);
        let mut distinct = vec![found[0], found[1], found[3], found[4]];
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 4);
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_needs_no_deep_stack() {
        let next: Vec<Vec<usize>> =
            (0..100_000).map(|node| if node == 0 { Vec::new() } else { vec![node - 1] }).collect();
        assert_eq!(find_circle(&next), None);
        assert_eq!(components(&next).len(), 100_000);
    }
}
