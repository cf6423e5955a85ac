"""Where things lie: crops of a frame, points in heatmaps, the pose of a head."""
