import trioton.blocking


class Camera(trioton.blocking.RepChannel):
    """Its methods run on the thread that calls `serve_pending`, and on no other."""

    def __init__(self, ctx: trioton.blocking.Context) -> None:
        super().__init__(ctx, "camera")
        self._exposure = 0.1

    def set_exposure(self, seconds: float) -> float:
        before, self._exposure = self._exposure, seconds
        return before


def main_loop(camera: Camera) -> None:
    """A loop that has other things to do, too."""
    while not camera.closed:
        camera.serve_pending(block=0.02)
