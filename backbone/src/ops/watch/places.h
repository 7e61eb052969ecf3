// Places in a watch: those of `place` in mod.rs.
#pragma once

constexpr int kLosses = 0, kCount = 1, kNorm = 2, kScale = 3, kFailed = 4, kFailedStep = 5, kFailedValue = 6;
