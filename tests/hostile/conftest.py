"""Every test here attacks a server of its own, and ends with the same questions to it."""
import pytest

from hostile.target import Target


@pytest.fixture
def target(serve, encoding, request):
    """A server in either encoding; `@pytest.mark.options(...)` sets options of `<zeo>`,
    `@pytest.mark.arguments(...)` some on the command line."""
    mark = request.node.get_closest_marker('options')
    arguments = request.node.get_closest_marker('arguments')
    target = Target(serve(encoding=encoding, args=arguments.args if arguments else (),
                          **(mark.kwargs if mark else {})))
    yield target
    target.check()

