from grandpa_kfp import Node, Workflow, launch


@Node
def square(x: int) -> int:
    return x * x


@Node
def add(a: int, b: int) -> int:
    return a + b


@Workflow
def pythagoras(a: int = 3, b: int = 4) -> int:
    return add(square(a), square(b))  # the two squares run side by side


if __name__ == "__main__":
    launch()
