"""cluster/stores.py: patterns, and the text of faults. What needs pyarrow is in test_cluster_inputs.py."""

import pytest

from cluster.session import check_address
from cluster.stores import fault_text, glob_root, glob_rule


@pytest.mark.parametrize(
    ("pattern", "root", "matching", "others"),
    [
        ("/p/*.jpg", "/p", ["/p/a.jpg", "/p/.jpg"], ["/p/a/b.jpg", "/p/a.jpeg", "/p/ajpg"]),
        ("b/2026/*/img?.png", "b/2026", ["b/2026/x/img1.png"], ["b/2026/img1.png", "b/2026/x/img.png"]),
        ("b/**/x.png", "b", ["b/x.png", "b/c/x.png", "b/c/d/x.png"], ["b/cx.png", "b/c/y.png"]),
        ("b/[ab!].png", "b", ["b/a.png", "b/!.png"], ["b/c.png"]),
        ("b/[!ab].png", "b", ["b/c.png"], ["b/a.png"]),
        ("b/[x.png*", "b", ["b/[x.png", "b/[x.png2"], ["b/x.png"]),
        ("b/a.b+(c)/*", "b/a.b+(c)", ["b/a.b+(c)/d"], ["b/aXb+(c)/d"]),
    ],
)
def test_patterns_match_as_shells_match_them(pattern, root, matching, others):
    assert glob_root(pattern) == root
    assert all(glob_rule(pattern).match(path) for path in matching)
    assert not any(glob_rule(pattern).match(path) for path in others)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FileNotFoundError(2, "Path does not exist 'b/x'. Detail: [errno 2]"), "there is no such file"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (
            OSError(
                "When listing objects in bucket 'b': AWS Error ACCESS_DENIED during ListObjectsV2: No rights"
            ),
            "access denied, No rights",
        ),
        (ValueError("two\nlines"), "two lines"),
    ],
)
def test_faults_of_stores_are_one_short_line(error, text):
    assert fault_text(error) == text


@pytest.mark.parametrize("address", ["auto", "local", "10.0.0.1:6379", "ray://head:10001", "[::1]:80"])
def test_addresses_of_clusters(address):
    assert check_address(address) == address


@pytest.mark.parametrize("address", ["", "head", "head:", "head:0", "head:65536", "http://head:80", "a b:1"])
def test_other_addresses_of_clusters_are_errors(address):
    with pytest.raises(
        ValueError, match="the address of a cluster is auto, local, HOST:PORT or ray://HOST:PORT"
    ):
        check_address(address)
