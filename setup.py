"""What pyproject.toml cannot say: the tests that lie beside the builders are not installed."""

from setuptools import setup
from setuptools.command.build_py import build_py


class WithoutTests(build_py):
    """Installs all modules but tests."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Return package, name and path of each module of a package that is to be installed."""
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if not module[1].endswith("_test")]


setup(cmdclass={"build_py": WithoutTests})
