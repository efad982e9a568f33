//! From folders on disk to the text on stdout. Plain directories need no tool.

use serde_json::json;

use super::*;
use crate::model::Origin;

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn rendered(path: &Path, application: Option<PathBuf>) -> Result<String, RenderVerbError> {
    rendered_with(path, application, &[])
}

fn rendered_with(path: &Path, application: Option<PathBuf>, sources: &[String]) -> Result<String, RenderVerbError> {
    let arguments = RenderArguments {
        path: path.to_owned(),
        application,
        sources: sources.to_vec(),
        revision: String::new(),
        tools: ToolFlags::default(),
    };
    let mut output = Vec::new();
    run(&arguments, &mut output)?;
    Ok(String::from_utf8(output).unwrap())
}

fn config_map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

#[test]
fn a_folder_of_a_checkout_is_shown_with_paths_from_its_root() {
    let checkout = tempfile::tempdir().unwrap();
    write(checkout.path(), ".git/HEAD", "ref: refs/heads/main\n");
    write(checkout.path(), "deploy/a.yaml", &format!("{}---\n{}", config_map("a"), config_map("b")));
    let output = rendered(&checkout.path().join("deploy"), None).unwrap();
    assert_eq!(
        output,
        "---\n# Source: deploy/a.yaml:1\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n\
         ---\n# Source: deploy/a.yaml:5\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\n"
    );
}

#[test]
fn an_application_names_the_folder_and_how_to_read_it() {
    let checkout = tempfile::tempdir().unwrap();
    write(checkout.path(), "deploy/deep/a.yaml", &config_map("a"));
    write(checkout.path(), "deploy/deep/b.yaml", &config_map("b"));
    write(
        checkout.path(),
        "application.yaml",
        "apiVersion: tidelock.dev/v1alpha1\nkind: Application\nmetadata: {name: shop}\nspec:\n  source:\n    \
         repoURL: https://git.example.com/a.git\n    path: deploy\n    directory: {recurse: true, exclude: '**/b.yaml'}\n  \
         destination: {namespace: shop}\n",
    );
    let output = rendered(checkout.path(), Some(checkout.path().join("application.yaml"))).unwrap();
    assert!(output.contains("# Source: deploy/deep/a.yaml:1\n"), "{output}");
    assert!(!output.contains("name: b"), "{output}");
}

#[test]
fn several_sources_are_read_from_their_checkouts_and_the_later_one_wins() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(first.path(), "deploy/a.yaml", &format!("{}---\n{}", config_map("a"), config_map("both")));
    write(second.path(), "more/b.yaml", &config_map("both"));
    let file = first.path().join("application.yaml");
    write(
        first.path(),
        "application.yaml",
        "apiVersion: tidelock.dev/v1alpha1\nkind: Application\nmetadata: {name: shop}\nspec:\n  sources:\n    \
         - {repoURL: 'https://git.example.com/a.git', path: deploy}\n    \
         - {repoURL: 'https://git.example.com/b.git', path: more, name: extra}\n  \
         destination: {namespace: shop}\n",
    );
    let with = |argument: String| rendered_with(first.path(), Some(file.clone()), &[argument]);
    let output = with(format!("extra={}", second.path().display())).unwrap();
    let origins: Vec<&str> = output.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(origins, ["# Source: sources[0]:deploy/a.yaml:1", "# Source: sources[1] (extra):more/b.yaml:1"]);
    assert_eq!(with(format!("1={}", second.path().display())).unwrap(), output);
    assert_eq!(
        with("other=x".to_owned()).unwrap_err().to_string(),
        "--source other=x: write SOURCE=FOLDER, where SOURCE is the place, name or ref of a source: sources[0], sources[1] \
         (extra)"
    );
    assert!(
        rendered(first.path(), Some(file.clone()))
            .unwrap_err()
            .to_string()
            .starts_with("sources[1] (extra): the folder `more`")
    );
}

#[test]
fn a_file_name_can_not_end_the_comment_that_names_it() {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let manifests = [Manifest { object, origin: Origin { file: "a\nb".to_owned(), line: 1 } }];
    let mut output = Vec::new();
    print(&manifests, &mut output).unwrap();
    assert!(output.starts_with(b"---\n# Source: a b:1\napiVersion: v1\n"));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yaml", "a: [\n");
    let said = |result: Result<String, RenderVerbError>| result.unwrap_err().to_string();
    assert!(said(rendered(folder.path(), None)).starts_with("a.yaml:"));
    let file = folder.path().join("a.yaml");
    assert!(said(rendered(&file, None)).ends_with("is not a folder: name the folder that holds the manifests"));
    write(folder.path(), "b.yaml", &config_map("b"));
    let other = folder.path().join("b.yaml");
    assert!(
        said(rendered(folder.path(), Some(other)))
            .ends_with("holds 0 Applications of tidelock.dev; exactly one is wanted")
    );
    assert!(said(rendered(&folder.path().join("absent"), None)).starts_with("cannot open the folder "));
}

#[test]
fn a_folder_gives_a_release_name_that_helm_takes() {
    assert_eq!(release_name("My_Chart.v2"), "my-chart-v2");
    assert_eq!(release_name("--"), "render");
    assert_eq!(release_name(&"a".repeat(80)).len(), 53);
}
